package admin

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestMissingRightsNameRoot(t *testing.T) {
	denied := fmt.Errorf("connect: %w", &os.PathError{Op: "dial", Path: "/x", Err: syscall.EACCES})
	if got := rootRemedy(denied); !strings.Contains(got, "root") {
		t.Errorf("permission denied: remedy %q", got)
	}
	if got := rootRemedy(syscall.ENOSPC); got != "" {
		t.Errorf("no space: remedy %q", got)
	}
}
