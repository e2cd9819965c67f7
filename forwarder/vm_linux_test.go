package forwarder_test

import (
	"testing"

	"weft/perf/vm/vmtest"
)

// The forwarder on another kernel than this one, with the offloads that probing finds there. The portable
// queue and conn use nothing that differs between kernels, and headerless packets nothing that GUE's don't.
func TestVMForwarder(t *testing.T) {
	vmtest.Required(t)
	t.Run("carries everything", func(t *testing.T) { everyFamilyCarriesEverything(t, gue) })
	t.Run("answers what is too big", TestOneByteOverTheMTUIsAnswered)
}
