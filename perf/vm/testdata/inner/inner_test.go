// Package inner has the tests that the tests of package vm run inside: each ends in its own way.
package inner

import (
	"os"
	"testing"
	"time"
)

func TestVMPasses(t *testing.T) {
	if text, err := os.ReadFile("testdata/word"); err != nil || string(text) != os.Getenv("WORD") {
		t.Errorf("testdata/word is %q (%v), want %q", text, err, os.Getenv("WORD"))
	}
	t.Log("seen from inside")
}

func TestVMFails(t *testing.T) { t.Error("wrong on purpose") }

func TestVMPanics(*testing.T) { panic("on purpose") }

func TestVMHangs(*testing.T) { time.Sleep(time.Hour) }

func TestVMSkips(t *testing.T) { t.Skip("on purpose") }

func TestVMExitsEarly(t *testing.T) {
	t.Run("sub", func(t *testing.T) { t.Error("wrong on purpose") })
	os.Exit(0)
}

func TestVMCrashesTheKernel(t *testing.T) {
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
		t.Fatal(err)
	}
}
