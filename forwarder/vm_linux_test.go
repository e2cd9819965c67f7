package forwarder_test

import (
	"testing"

	"weft/perf/vm/vmtest"
)

// The forwarder on another kernel than this one, with the offloads that probing finds there.
func TestVMForwarder(t *testing.T) {
	vmtest.Required(t)
	t.Run("carries everything", TestEveryFamilyCarriesEverything)
	t.Run("answers what is too big", TestOneByteOverTheMTUIsAnswered)
}
