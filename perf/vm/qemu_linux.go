package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// program is qemu for the only architecture that is tried.
const program = "qemu-system-x86_64"

// commandLine is the kernel's: any crash ends the machine at once, and what costs time under emulation
// is off.
const commandLine = "console=ttyS0 quiet panic=-1 oops=panic mitigations=off no5lvl nokaslr"

// The descriptors of qemu, behind the standard ones. It opens them again by name, so that nothing
// ever has a name in a file system, and nothing is left when this process is killed.
const (
	imageFD   = "/proc/self/fd/3" // initramfs
	consoleFD = "/proc/self/fd/4" // ttyS0
	outputFD  = "/proc/self/fd/5" // ttyS1
	statusFD  = "/proc/self/fd/6" // ttyS2
)

// boot runs the machine to its end and returns what it said as status and on its console.
func (m Machine) boot(ctx context.Context, output io.Writer) (status, console string, err error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", "", fmt.Errorf("%w: install Debian's qemu-system-x86, or run `make test-vm`, which does", err)
	}
	image, err := m.packed()
	if err != nil {
		return "", "", fmt.Errorf("packing initramfs: %w", err)
	}
	defer image.Close()
	var statusText, consoleText, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, path, m.flags()...)
	cmd.Stderr = &complaints
	cmd.ExtraFiles = []*os.File{image}
	// A panicking test runner, a Ctrl-C, a SIGKILL: qemu goes too. The signal comes when the thread ends
	// that started it, so this one must stay.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	wait, err := startReading(cmd, &consoleText, output, &statusText)
	if err != nil {
		return "", "", err
	}
	err = cmd.Wait()
	wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", "", fmt.Errorf("running %s: %w", program, err)
	}
	// A machine that ended by itself exits with 0 (a killed one has no message, and its reason is ctx's).
	if err != nil && ctx.Err() == nil {
		return "", "", fmt.Errorf("running %s: %w: %s", program, err, strings.TrimSpace(complaints.String()))
	}
	return statusText.String(), consoleText.String(), nil
}

// startReading starts qemu with one pipe for each stream. The function returned waits until all that was
// written has been read.
func startReading(cmd *exec.Cmd, streams ...io.Writer) (wait func(), err error) {
	var far, near []*os.File
	defer func() {
		for _, f := range far {
			f.Close()
		}
		if err != nil {
			for _, f := range near {
				f.Close()
			}
		}
	}()
	for range streams {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		near, far = append(near, r), append(far, w)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, far...)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	var readers sync.WaitGroup
	for i, stream := range streams {
		readers.Go(func() {
			defer near[i].Close()
			io.Copy(stream, near[i]) // ends when qemu does
		})
	}
	return readers.Wait, nil
}

// flags describes the machine. The serial ports are ttyS0 to ttyS2 in this order.
func (m Machine) flags() []string {
	flags := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg,thread=multi", "-cpu", "max",
		"-smp", fmt.Sprint(processors), "-m", fmt.Sprint(memoryMiB),
		"-kernel", m.Kernel.Image, "-initrd", imageFD, "-append", commandLine,
	}
	for _, path := range []string{consoleFD, outputFD, statusFD} {
		flags = append(flags, "-serial", "file:"+path)
	}
	return flags
}

// packed returns the initramfs as a file in memory.
func (m Machine) packed() (*os.File, error) {
	fd, err := unix.MemfdCreate("initramfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "initramfs")
	if err := m.writeInitramfs(file); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
