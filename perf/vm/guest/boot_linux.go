package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Boot does all that init does and never returns: the machine stops.
func Boot() {
	status, err := run()
	if err != nil {
		status = fmt.Sprintf("init of the virtual machine: %v\n", err)
	}
	say(status)
	// qemu runs with -no-reboot and ends here. Where this fails, process 1 ends and the kernel panics,
	// which ends qemu as well.
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// run returns the status line of the program.
func run() (status string, err error) {
	if err := mountAll(); err != nil {
		return "", err
	}
	spec, err := readSpec()
	if err != nil {
		return "", err
	}
	for _, path := range spec.Modules {
		if err := load(path); err != nil {
			return "", err
		}
	}
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}
	if err := netlink.LinkSetUp(lo); err != nil {
		return "", fmt.Errorf("bringing lo up: %w", err)
	}
	output, err := openPort(outputPort)
	if err != nil {
		return "", err
	}
	defer drain(output)
	code, err := runProgram(spec, output)
	if err != nil {
		return "", err
	}
	return Status(code), nil
}

func readSpec() (spec Spec, err error) {
	text, err := os.ReadFile(SpecFile)
	if err == nil {
		err = json.Unmarshal(text, &spec)
	}
	if err != nil {
		return spec, fmt.Errorf("reading %s: %w", SpecFile, err)
	}
	return spec, nil
}

// runProgram returns the program's exit code, or -1 if a signal ended it.
func runProgram(spec Spec, output *os.File) (code int, err error) {
	cmd := exec.Command(spec.Program, spec.Args...)
	cmd.Dir = spec.Dir
	// There is root, and the modules are there: a test that skips for want of either would hide that.
	cmd.Env = append([]string{"PATH=/bin", "HOME=/root", "TMPDIR=/tmp", "REQUIRE_ROOT=1", Variable + "=1"}, spec.Env...)
	cmd.Stdout, cmd.Stderr = output, output
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("starting the test: %w", err)
	}
	return cmd.ProcessState.ExitCode(), nil
}

// load loads one module whose needs are there.
func load(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	err = unix.FinitModule(int(file.Fd()), "", 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading module %s: %w", path, err)
	}
	return nil
}

// mountAll mounts what programs expect of a host. Everything else is the initramfs, which is writable.
func mountAll() error {
	for _, m := range []struct{ kind, on string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"},
		{"tmpfs", "/run"}, {"tmpfs", "/tmp"}, {"cgroup2", "/sys/fs/cgroup"}, {"bpf", "/sys/fs/bpf"},
	} {
		if err := os.MkdirAll(m.on, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.on, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.kind, m.on, err)
		}
	}
	// devtmpfs leaves these links to udev.
	return errors.Join(os.Symlink("/proc/self/fd", "/dev/fd"), os.MkdirAll("/root", 0o700))
}
