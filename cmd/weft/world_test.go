package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"weft/cmd/internal/admin"
	"weft/lease"
	"weft/lease/etcd"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// A world is hosts of a lab with this very program on them, an etcd outside, and what its tests
// know of both.
type world struct {
	*testing.T
	lab      *netlab.Lab
	dir      string
	endpoint string // of etcd
	programs []*program
	by       []string // what stands in front of the programs that are started, with its arguments: setpriv
}

// patience is how long anything may take that has to happen. It is no promise about speed: the
// machine may be busy with other tests.
const patience = 30 * time.Second

// newWorld builds a lab without agents. Its etcd isn't running yet.
func newWorld(t *testing.T, hosts int) *world {
	t.Helper()
	labtest.Need(t)
	lab, err := netlab.New(t.Context(), netlab.Config{Name: "agents", Hosts: hosts, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	_, outside, _ := lab.Underlay()
	w := &world{T: t, lab: lab, dir: t.TempDir(), endpoint: "http://" + netip.AddrPortFrom(outside, 2379).String()}
	t.Cleanup(func() {
		for _, p := range w.programs {
			p.end(t, syscall.SIGKILL)
		}
		for _, host := range lab.Hosts() {
			clearLane(t, host.Namespace)
			for _, c := range host.Containers() {
				clearLane(t, c.Namespace) // which may be a host of another fabric
			}
		}
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// A program is a running weft.
type program struct {
	*netlab.Cmd
	name   string
	log    string // path of what it printed
	exited chan struct{}
	status int // after exited
}

// start runs weft in a namespace, in the background.
func (w *world) start(where *netlab.Namespace, name string, args ...string) *program {
	w.Helper()
	log, err := os.CreateTemp(w.dir, name+"-*.log")
	if err != nil {
		w.Fatal(err)
	}
	defer log.Close()
	line := slices.Concat(w.by, []string{os.Args[0]}, args)
	p := &program{Cmd: where.Command(context.Background(), line[0], line[1:]...), name: name, log: log.Name(), exited: make(chan struct{})}
	p.Env = append(os.Environ(), asProgram+"=1")
	p.Stdout, p.Stderr = log, log
	if err := p.Start(); err != nil {
		w.Fatalf("starting %s: %v", name, err)
	}
	go func() {
		defer close(p.exited)
		var exit *exec.ExitError
		if err := p.Wait(); errors.As(err, &exit) {
			p.status = exit.ExitCode()
		}
	}()
	w.programs = append(w.programs, p)
	return p
}

// end sends the signal, waits for the exit, and returns how long that took.
func (p *program) end(t *testing.T, signal syscall.Signal) time.Duration {
	t.Helper()
	began := time.Now()
	_ = p.Process.Signal(signal) // it may have ended by itself
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Errorf("%s doesn't end after %v", p.name, signal)
		_ = p.Process.Kill()
	}
	return time.Since(began)
}

func (p *program) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// startEtcd starts `weft etcd` outside the hosts.
func (w *world) startEtcd() *program {
	w.Helper()
	space, addr, _ := w.lab.Underlay()
	return w.start(space, "etcd", "etcd", "--data-dir", filepath.Join(w.dir, "etcd"),
		"--listen-client-urls", w.endpoint, "--listen-peer-urls", "http://"+netip.AddrPortFrom(addr, 2380).String())
}

// startAgent starts the agent of host n, with files of its own.
func (w *world) startAgent(n int, args ...string) *program {
	w.Helper()
	return w.start(w.lab.Host(n).Namespace, fmt.Sprintf("agent%d", n), append([]string{"agent",
		"--iface", "eth0", "--etcd-endpoints", w.endpoint, "--admin-socket", w.socket(n),
		"--subnet-file", w.subnetFile(n), "--state-dir", filepath.Join(w.dir, fmt.Sprint(n))}, args...)...)
}

func (w *world) socket(n int) string     { return filepath.Join(w.dir, fmt.Sprintf("agent%d.sock", n)) }
func (w *world) subnetFile(n int) string { return filepath.Join(w.dir, fmt.Sprintf("subnet%d.env", n)) }

// run runs weft to its end in a namespace.
func (w *world) run(where *netlab.Namespace, args ...string) (status int, out string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	cmd := where.Command(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), string(text)
	}
	if err != nil {
		w.Fatal(err)
	}
	return 0, string(text)
}

const testConfig = `{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}`

// setConfig writes the network config, as soon as etcd answers.
func (w *world) setConfig(config string) {
	w.Helper()
	space, _, _ := w.lab.Underlay()
	w.until("weft config set", func() error {
		if status, out := w.run(space, "config", "set", "--etcd-endpoints", w.endpoint, config); status != 0 {
			return errors.New(out)
		}
		return nil
	})
}

// until repeats a check until it passes.
func (w *world) until(what string, check func() error) {
	w.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	for _, p := range w.programs {
		w.Logf("%s said:\n%s", p.name, p.said())
	}
	w.Fatalf("%s: %v", what, err)
}

// state asks the agent of host n.
func (w *world) state(n int) (admin.State, error) {
	s, _, err := admin.Ask(w.Context(), w.socket(n))
	return s, err
}

// ready waits until packets can flow between host n and that many peers, by the lane where that is to carry them, and
// returns the state.
func (w *world) ready(n, peers int) (state admin.State) {
	w.Helper()
	w.until(fmt.Sprintf("agent %d ready with %d peers", n, peers), func() (err error) {
		if state, err = w.state(n); err != nil {
			return err
		}
		laid := state.Datapath.Kind != "express" || state.Lane != nil && state.Lane.On
		if !state.Ready || len(state.Peers) != peers || !laid {
			return fmt.Errorf("ready %t (%s), %d peers, lane %+v", state.Ready, state.Waiting, len(state.Peers), state.Lane)
		}
		return nil
	})
	return state
}

// waiting waits until the agent says that it waits for something.
func (w *world) waiting(n int, text string) {
	w.Helper()
	w.until(fmt.Sprintf("agent %d waiting for %q", n, text), func() error {
		state, err := w.state(n)
		if err == nil && !strings.Contains(state.Waiting, text) {
			err = fmt.Errorf("it waits for %q", state.Waiting)
		}
		return err
	})
}

// addContainer adds a container to host n by what subnet.env says, as Docker would.
func (w *world) addContainer(n int, name string) *netlab.Container {
	w.Helper()
	c, err := w.lab.Host(n).AddContainer(name, w.env(n).MTU, w.subnets(n)...)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// env is host n's subnet.env.
func (w *world) env(n int) lease.SubnetEnv {
	w.Helper()
	env, err := lease.ReadSubnetEnv(w.subnetFile(n))
	if err != nil {
		w.Fatal(err)
	}
	return env
}

// subnets are those that subnet.env says.
func (w *world) subnets(n int) (all []netip.Prefix) {
	w.Helper()
	env := w.env(n)
	for _, subnet := range []netip.Prefix{env.Subnet, env.Subnet6} {
		if subnet.IsValid() {
			all = append(all, subnet)
		}
	}
	return all
}

// etcd returns a client of the etcd outside, for looking at and spoiling its records.
func (w *world) etcd() *clientv3.Client {
	w.Helper()
	space, _, _ := w.lab.Underlay()
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{w.endpoint},
		DialTimeout: patience,
		Logger:      zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return space.Dial(ctx, "tcp", addr)
		})},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = client.Close() })
	return client
}

// records returns what is under the network's prefix.
func (w *world) records(client *clientv3.Client) map[string]string {
	w.Helper()
	response, err := client.Get(w.Context(), etcd.DefaultPrefix, clientv3.WithPrefix())
	if err != nil {
		w.Fatal(err)
	}
	all := map[string]string{}
	for _, kv := range response.Kvs {
		all[string(kv.Key)] = string(kv.Value)
	}
	return all
}

// transfer sends bytes over TCP to the other container and back, both directions at once, and
// compares the checksums, over each address family that it has. connecting bounds the wait for the connection.
func transfer(from, to *netlab.Container, size int, connecting time.Duration) error {
	if to.Addr.IsValid() {
		if err := transferTo(to.Addr, from, to, size, connecting); err != nil {
			return err
		}
	}
	if to.Addr6.IsValid() {
		return transferTo(to.Addr6, from, to, size, connecting)
	}
	return nil
}

func transferTo(addr netip.Addr, from, to *netlab.Container, size int, connecting time.Duration) error {
	listener, err := to.Listen(context.Background(), "tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return err
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn) // the client sees what is missing
	}()
	ctx, cancel := context.WithTimeout(context.Background(), connecting)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", listener.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return echoed(conn.(*net.TCPConn), size)
}

// echoed sends and receives at once; what comes back must be what was sent.
func echoed(conn *net.TCPConn, size int) error {
	sent, received := sha256.New(), sha256.New()
	var sending sync.WaitGroup
	var sendErr error
	sending.Go(func() {
		block := bytes.Repeat([]byte("weft carries this. "), 3449) // not a multiple of any segment size
		for left := size; left > 0 && sendErr == nil; left -= len(block) {
			block = block[:min(left, len(block))]
			sent.Write(block)
			_, sendErr = conn.Write(block)
		}
		_ = conn.CloseWrite()
	})
	n, err := io.Copy(received, conn)
	sending.Wait()
	switch {
	case sendErr != nil:
		return sendErr
	case err != nil:
		return err
	case n != int64(size) || !bytes.Equal(sent.Sum(nil), received.Sum(nil)):
		return fmt.Errorf("%d of %d bytes came back, checksums equal: %t", n, size, bytes.Equal(sent.Sum(nil), received.Sum(nil)))
	}
	return nil
}
