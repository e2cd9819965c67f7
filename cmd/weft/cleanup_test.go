package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// cleans runs weft cleanup on host n.
func (w *world) cleans(n int) (status int, out string) {
	w.Helper()
	return w.run(w.lab.Host(n).Namespace, "cleanup", "--state-dir", filepath.Join(w.dir, "1"), "--subnet-file", w.subnetFile(n))
}

// What the kernel goes on with after its agent's end is removed by a command of its own, and not before.
func TestCleanup(t *testing.T) {
	w := newWorld(t, 2)
	w.needVXLAN()
	w.startEtcd()
	w.setConfig(vxlanConfig)
	agent := w.startAgent(1, "--datapath", "kernel")
	w.startAgent(2, "--datapath", "kernel")
	w.ready(1, 2)
	if status, out := w.cleans(1); status == 0 || !strings.Contains(out, "is held by another agent") {
		t.Errorf("beside an agent it exits with %d: %s", status, out)
	}
	agent.end(t, syscall.SIGTERM)
	before := w.link(1, "flannel.1")
	if before == "" {
		t.Fatal("the device went with the agent")
	}
	status, out := w.cleans(1)
	for _, want := range []string{"removed device flannel.1\n", "removed device flannel-v6.1\n", "removed route 10.5.", "removed route fd00:5:", "subnet1.env\n"} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("exit status %d, no %q in\n%s", status, want, out)
		}
	}
	if left := w.link(1, "flannel.1") + w.link(1, "flannel-v6.1"); left != "" {
		t.Error("still there: ", left)
	}
	if _, err := os.Stat(w.subnetFile(1)); err == nil {
		t.Error("subnet.env is still there")
	}
	if status, out := w.cleans(1); status != 0 || out != "nothing of weft's is left here\n" {
		t.Errorf("the second time: %d, %s", status, out)
	}
}
