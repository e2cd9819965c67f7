package netlab

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckExplains(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"not root", explainUnshare(unix.EPERM), "run it with sudo"},
		{"no namespaces", explainUnshare(unix.EINVAL), "CONFIG_NET_NS"},
		{"container without its /proc", explainPrepare(unix.EROFS), "--privileged"},
		{"no bridge", explainDevice("bridge", unix.EOPNOTSUPP), "modprobe bridge"},
	} {
		if got := c.err.Error(); !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s: it says %q, want one line with %q", c.name, got, c.want)
		}
	}
}
