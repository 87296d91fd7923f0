package xds_test

import (
	"testing"

	"github.com/weft-mesh/weft/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }
