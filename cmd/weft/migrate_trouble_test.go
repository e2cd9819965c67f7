package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// shut has a host drop every datagram that comes in to a UDP port, as a firewall would, until the test ends.
func (w *world) shut(host *netlab.Host, port int32) {
	w.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "Apache-2.0",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1), // which LoadAbs reads from
			asm.LoadAbs(14+9, asm.Byte), // protocol, behind the Ethernet header
			asm.JNE.Imm(asm.R0, syscall.IPPROTO_UDP, "pass"),
			asm.LoadAbs(14+20+2, asm.Half), // destination port
			asm.JNE.Imm(asm.R0, port, "pass"),
			asm.Mov.Imm(asm.R0, 2), // TC_ACT_SHOT
			asm.Return(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("pass"), // TC_ACT_OK
			asm.Return(),
		},
	})
	if err != nil {
		labtest.Missing(w.T, fmt.Errorf("no program for a firewall: %w", err))
	}
	w.Cleanup(func() { _ = program.Close() })
	err = host.Do(func() error {
		device, err := netlink.LinkByName(host.Device())
		if err != nil {
			return err
		}
		wall, err := link.AttachTCX(link.TCXOptions{Interface: device.Attrs().Index, Program: program, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			w.Cleanup(func() { _ = wall.Close() })
		}
		return err
	})
	if err != nil {
		labtest.Missing(w.T, fmt.Errorf("no firewall: %w", err))
	}
}

// twoOnUDP starts two hosts on udp that reach each other.
func twoOnUDP(t *testing.T) (*world, []*netlab.Container) {
	w, containers := newPair(t, testConfig)
	w.kinds(containers, "udp", "udp")
	return w, containers
}

// A firewall lets no VXLAN through to one host. It is moved, doesn't answer, and is moved back by itself.
func TestMigrateTakesBackAHostThatDoesNotAnswer(t *testing.T) {
	w, containers := twoOnUDP(t)
	w.shut(w.lab.Host(2), 8472)
	status, out := w.migrate(1, "udp", "vxlan", "--host", w.lab.Host(2).Addr.String())
	if status != 1 || !strings.Contains(out, "1 of 1 peers that answered before don't answer any more") || !strings.Contains(out, "is of type udp again") {
		t.Errorf("exit status %d:\n%s", status, out)
	}
	w.kinds(containers, "udp", "udp")
	if out := w.migrates(1, "udp", "vxlan", "--status"); !strings.Contains(out, "0 of 2 hosts moved") {
		t.Errorf("status:\n%s", out)
	}
}

// An operator at a terminal agrees to the first step, is interrupted at the second, and goes on later.
func TestMigrateAsksAndIsBrokenOff(t *testing.T) {
	w, containers := twoOnUDP(t)
	terminal, program := w.atTerminal(1, "migrate", "udp", "vxlan", "--etcd-endpoints", w.endpoint, "--admin-socket", w.socket(1))
	terminal.expect(w, "prepare 2 hosts for the way from udp to vxlan? [y]es")
	terminal.types(w, "y\n")
	terminal.expect(w, "to vxlan? [y]es")
	if took := program.end(t, syscall.SIGINT); took > patience || program.status != 1 {
		t.Errorf("exit status %d after %v", program.status, took)
	}
	if out := w.migrates(1, "udp", "vxlan", "--status"); !strings.Contains(out, "0 of 2 hosts moved") {
		t.Errorf("status:\n%s", out)
	}
	terminal, program = w.atTerminal(2, "migrate", "udp", "vxlan", "--etcd-endpoints", w.endpoint, "--admin-socket", w.socket(2))
	terminal.expect(w, "to vxlan? [y]es")
	terminal.types(w, "all\n")
	terminal.expect(w, "the network is of backend type vxlan, with 2 hosts")
	<-program.exited
	if program.status != 0 {
		t.Errorf("exit status %d", program.status)
	}
	w.kinds(containers, "vxlan", "vxlan")
}

// A console is what a person sees and types on.
type console struct {
	*os.File
	seen bytes.Buffer
}

// atTerminal runs weft on host n at a terminal of its own (pty(7)).
func (w *world) atTerminal(n int, args ...string) (*console, *program) {
	w.Helper()
	front, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = front.Close() })
	number, err := unix.IoctlGetInt(int(front.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(front.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		w.Fatal(err)
	}
	back, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		w.Fatal(err)
	}
	defer back.Close()
	p := &program{Cmd: w.lab.Host(n).Command(context.Background(), os.Args[0], args...), name: "at a terminal", exited: make(chan struct{})}
	p.Env = append(os.Environ(), asProgram+"=1")
	p.Stdin, p.Stdout, p.Stderr = back, back, back
	if err := p.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.Wait()
		p.status = p.ProcessState.ExitCode()
	}()
	w.programs = append(w.programs, p)
	return &console{File: front}, p
}

// expect reads until the text has come.
func (t *console) expect(w *world, text string) {
	w.Helper()
	buffer := make([]byte, 4096)
	for deadline := time.Now().Add(patience); !strings.Contains(t.seen.String(), text); {
		if time.Now().After(deadline) {
			w.Fatalf("the terminal doesn't show %q:\n%s", text, t.seen.String())
		}
		ready := []unix.PollFd{{Fd: int32(t.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, 100); n <= 0 || err != nil {
			continue
		}
		n, err := t.Read(buffer)
		if t.seen.Write(buffer[:n]); err != nil && n == 0 {
			w.Fatalf("the terminal closed before it showed %q:\n%s", text, t.seen.String())
		}
	}
	t.seen.Reset()
}

func (t *console) types(w *world, text string) {
	w.Helper()
	if _, err := t.WriteString(text); err != nil {
		w.Fatal(err)
	}
}
