package doctor

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// A Check is one thing about the machine: what was found, and what to do about it.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"` // empty where nothing has to be done
}

// machine checks what every datapath needs. An agent can't run where one of them isn't OK.
func machine() []Check {
	return []Check{rootCheck(os.Geteuid()), tunCheck("/dev/net/tun"), kernelCheck(), forwardingCheck()}
}

func rootCheck(uid int) Check {
	if uid != 0 {
		return Check{Name: "root", Found: fmt.Sprintf("user %d", uid), Remedy: "run as root: devices and routes need CAP_NET_ADMIN"}
	}
	return Check{Name: "root", OK: true, Found: "yes"}
}

func tunCheck(path string) Check {
	c := Check{Name: "TUN", Found: path}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case err == nil:
		_ = f.Close()
		c.OK = true
	case os.IsNotExist(err):
		c.Found, c.Remedy = "no "+path, "modprobe tun; in a container: --device "+path
	default:
		c.Found, c.Remedy = err.Error(), "let this container have the device: --device "+path+" and CAP_NET_ADMIN"
	}
	return c
}

func kernelCheck() Check {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return Check{Name: "kernel", Found: err.Error(), Remedy: "mount /proc"}
	}
	return Check{Name: "kernel", OK: true, Found: fmt.Sprintf("Linux %s, %d CPUs", strings.TrimSpace(string(release)), runtime.NumCPU())}
}

func forwardingCheck() Check {
	const path = "/proc/sys/net/ipv4/ip_forward"
	value, err := os.ReadFile(path)
	switch {
	case err != nil:
		return Check{Name: "forwarding", Found: err.Error(), Remedy: "mount /proc"}
	case strings.TrimSpace(string(value)) == "1":
		return Check{Name: "forwarding", OK: true, Found: "on"}
	case writable(path):
		return Check{Name: "forwarding", OK: true, Found: "off; the agent turns it on"}
	}
	return Check{Name: "forwarding", Found: "off, and " + path + " can't be written", Remedy: "sysctl -w net.ipv4.ip_forward=1 outside of this container"}
}

func writable(path string) bool {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}
