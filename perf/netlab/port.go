package netlab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// The ports that FreeAddr hands out: none of those that a kernel gives to connections by itself
// (net.ipv4.ip_local_port_range begins at 32768), so that no connection gets in between.
const (
	firstPort = 16384
	ports     = 16384
)

// reserved holds one abstract Unix socket for each port that this process was handed, until it ends. Other
// processes that ask see by the name that the port is somebody's, although nobody listens on it.
var reserved struct {
	sync.Mutex
	all []net.Listener
}

// FreeAddr returns an address of loopback, IP:port, on which nothing listens, and which no other call returns for
// as long as this process runs, in this network namespace: for servers that are told where to listen.
func FreeAddr() (string, error) {
	reserved.Lock()
	defer reserved.Unlock()
	var err error
	for range 100 {
		port := firstPort + rand.IntN(ports)
		var name, listener net.Listener
		if name, err = net.Listen("unix", fmt.Sprintf("@weft-port-%d", port)); err != nil {
			continue
		}
		if listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
			err = errors.Join(err, name.Close())
			continue
		}
		reserved.all = append(reserved.all, name)
		addr := listener.Addr().String()
		return addr, listener.Close()
	}
	return "", fmt.Errorf("looking for a free port of loopback: %w", err)
}
