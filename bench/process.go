package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// roleVariable has this program be another process of the measurement than the clients'.
const roleVariable = "WEFT_BENCH_ROLE"

// roles are what it may be. Each serves until in ends, and says first on out, in a line of
// JSON, what the clients need to know.
var roles = map[string]func(in io.Reader, out io.Writer) error{
	"servers": runServers,
	"start":   runStart,
	"changes": runChanges,
	"burner":  runBurner,
}

// playRole is for main: ok is false if this process is the clients'.
func playRole() (ok bool, err error) {
	name := os.Getenv(roleVariable)
	if name == "" {
		return false, nil
	}
	if err := roles[name](os.Stdin, os.Stdout); err != nil {
		return true, fmt.Errorf("%s: %w", name, err)
	}
	return true, nil
}

// process is this program in a role. It ends when stop is called or this process ends,
// however it does.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// startProcess starts one, tells it one thing unless that is nil, and reads its first answer.
func startProcess(ctx context.Context, role string, tell, answer any) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self)}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if tell != nil {
		err = json.NewEncoder(p.in).Encode(tell)
	}
	if err == nil {
		err = p.out.Decode(answer)
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	return p, nil
}

// ask tells the process something and returns what it says to that.
func (p *process) ask(tell, answer any) error {
	if err := json.NewEncoder(p.in).Encode(tell); err != nil {
		return err
	}
	return p.out.Decode(answer)
}

func (p *process) stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}
