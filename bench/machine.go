package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// describeMachine says what the figures were measured on, and that they are medians over
// what of says.
func describeMachine(out io.Writer, of string) {
	fmt.Fprintf(out, "%d cores", runtime.NumCPU())
	if model := cpuModel(); model != "" {
		fmt.Fprintf(out, " (%s)", model)
	}
	fmt.Fprintf(out, ", %s, %s/%s, loopback; %d-byte echo; medians over %s\n",
		strings.ReplaceAll(runtime.Version(), "go", "Go "), runtime.GOOS, runtime.GOARCH, len(payload), of)
}

// cpuModel is empty where it cannot be had.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	_, model, _ := strings.Cut(line, ": ")
	return model
}
