package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// runNetns is where iproute2 keeps named namespaces (NETNS_RUN_DIR).
const runNetns = "/run/netns"

// A Namespace is one named network namespace of a lab.
type Namespace struct {
	name   string
	labID  string
	handle netns.NsHandle
}

// Name is the full name, lab ID included, as `ip netns` shows it.
func (n *Namespace) Name() string { return n.name }

// Path is the mounted namespace file, for nsenter --net=PATH.
func (n *Namespace) Path() string { return filepath.Join(runNetns, n.name) }

// Do runs f on a thread of its own that is inside the namespace, and waits for it. The thread dies
// with f, so nothing can leak out of the namespace by a forgotten switch back. What f opens
// (sockets, devices) stays in the namespace wherever it is used later; goroutines that f starts
// are not inside it. f must not call t.Fatal.
func (n *Namespace) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("entering namespace %s: %w", n.name, err)
		}
		return f()
	})
}

// errExited is what Do returns when f ended its goroutine instead of returning.
var errExited = errors.New("function called runtime.Goexit inside a namespace")

// onOwnThread runs f on a thread that ends with it. The process's first thread can't end and is what
// /proc/PID/ns/net shows, so a goroutine that lands there sits on it while another one does the work.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := errExited
		defer func() { done <- err }()
		if unix.Gettid() == os.Getpid() {
			defer runtime.UnlockOSThread()
			err = onOwnThread(f)
			return
		}
		err = f() // no unlock: the runtime ends the thread with the goroutine
	}()
	return <-done
}

// Sysctl sets a value below /proc/sys, such as "net.ipv4.ip_forward", inside the namespace.
func (n *Namespace) Sysctl(key, value string) error {
	return n.Do(func() error { return sysctl(key, value) })
}

// sysctl writes for the namespace of the calling thread: /proc/sys/net resolves through it. A slash
// stands for itself, so that device names with dots can be written in the slash form.
func sysctl(key, value string) error {
	path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("setting sysctl %s to %s: %w", key, value, err)
	}
	return nil
}

// Dial connects from inside the namespace. The address must be IP:port; names aren't resolved.
func (n *Namespace) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dialing %s: %w", address, err)
	}
	// A socket belongs to the namespace it was made in. For a literal address the dialer makes it on
	// this very goroutine.
	err = n.Do(func() error {
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on a stream socket inside the namespace.
func (n *Namespace) Listen(ctx context.Context, network, address string) (listener net.Listener, err error) {
	err = n.Do(func() error {
		var config net.ListenConfig
		listener, err = config.Listen(ctx, network, address)
		return err
	})
	return listener, err
}

// ListenPacket opens a datagram socket inside the namespace; networks as in net.ListenPacket
// ("udp4", "ip4:icmp", …).
func (n *Namespace) ListenPacket(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	err = n.Do(func() error {
		var config net.ListenConfig
		conn, err = config.ListenPacket(ctx, network, address)
		return err
	})
	return conn, err
}

// newNamespace makes and mounts a namespace, with loopback up, forwarding on, and IPv6 addresses
// usable at once.
func newNamespace(labID, name string) (*Namespace, error) {
	n := &Namespace{name: labID + "-" + name, labID: labID, handle: netns.None()}
	err := onOwnThread(func() (err error) {
		if n.handle, err = netns.NewNamed(n.name); err != nil {
			return err
		}
		return prepare()
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making namespace %s: %w", n.name, err), n.Close())
	}
	return n, nil
}

// OpenNamespace opens a namespace of a lab that stands already, one that was kept. Name is the part
// behind the lab's ID. Close it.
func OpenNamespace(labID, name string) (*Namespace, error) {
	n := &Namespace{name: labID + "-" + name, labID: labID}
	var err error
	if n.handle, err = netns.GetFromPath(n.Path()); err != nil {
		return nil, fmt.Errorf("opening namespace %s: %w", n.name, err)
	}
	return n, nil
}

// Close gives the handle up, not the namespace. A lab closes its own.
func (n *Namespace) Close() error {
	if !n.handle.IsOpen() {
		return nil
	}
	return n.handle.Close()
}

// prepare sets what the kernel may have inherited from the machine's own settings.
func prepare() error {
	// New namespaces take IPv4 settings from the machine's own (devconf_inherit_init_net).
	settings := [][2]string{
		{"net.ipv4.ip_forward", "1"},
		{"net.ipv4.conf.all.rp_filter", "0"}, // the machine's strict filter would hide routing mistakes
		{"net.ipv4.conf.default.rp_filter", "0"},
	}
	if hasIPv6() {
		settings = append(settings, [][2]string{
			{"net.ipv6.conf.all.forwarding", "1"},
			{"net.ipv6.conf.all.accept_dad", "0"}, // a tentative address refuses traffic for a second
			{"net.ipv6.conf.default.accept_dad", "0"},
			{"net.ipv6.conf.all.disable_ipv6", "0"},
			{"net.ipv6.conf.default.disable_ipv6", "0"},
		}...)
	}
	for _, s := range settings {
		if err := sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return linkUp("lo")
}

// hasIPv6 tells whether the kernel was built, and booted, with IPv6.
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}
