package vm_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/perf/vm"
)

// kernelVariable names the folder of a kernel. deploy/test-vm sets it; nothing else fetches 30 MB.
const kernelVariable = "WEFT_VM_KERNEL"

// world builds what a machine consists of: an init, and a test binary with the tests of testdata/inner.
func world(t *testing.T) vm.Machine {
	t.Helper()
	dir := os.Getenv(kernelVariable)
	if dir == "" {
		t.Skip("boots a virtual machine: make test-vm")
	}
	kernel, err := vm.OpenKernel(dir)
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	build(t, "build", "-o", bin, "./vminit", "./vmexec")
	build(t, "test", "-c", "-o", filepath.Join(bin, "inner.test"), "./testdata/inner")
	return vm.Machine{
		Kernel: kernel, Init: filepath.Join(bin, "vminit"), Program: filepath.Join(bin, "inner.test"),
		Env: []string{"WORD=weft"}, Testdata: "testdata/inner/testdata", Timeout: time.Minute,
	}
}

func build(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
}

// Every way in which a test, or the machine under it, can end badly is a failure outside, and says which.
func TestEndsInsideAreSeenOutside(t *testing.T) {
	base := world(t)
	for _, test := range []struct {
		run     string // test inside
		reason  string // "" for success
		console string // part of the console's end
		output  string // part of what the test printed
		limit   time.Duration
	}{
		{run: "TestVMPasses", output: "seen from inside"},
		{run: "TestVMFails", reason: "status 1", output: "wrong on purpose"},
		{run: "TestVMPanics", reason: "status 2", output: "panic: on purpose"},
		{run: "TestVMPasses|TestVMExitsEarly", reason: "status 2", output: "unexpected call to os.Exit(0)"},
		{run: "TestVMSkips", reason: "no test passed: 0 failed, 1 were skipped"},
		{run: "TestNoneHasThisName", reason: "no test passed: 0 failed, 0 were skipped"},
		{run: "TestVMPasses|TestVMHangs", reason: "no result within 15s", output: "seen from inside", limit: 15 * time.Second},
		{run: "TestVMPasses|TestVMCrashesTheKernel", reason: "without a result", console: "sysrq", output: "seen from inside"},
	} {
		t.Run(test.run, func(t *testing.T) {
			t.Parallel()
			machine, output := base, new(bytes.Buffer)
			machine.Output = output
			machine.Args = []string{"-test.run", "^(" + test.run + ")$", "-test.v", "-test.paniconexit0"}
			if test.limit != 0 {
				machine.Timeout = test.limit
			}
			err := machine.Run(t.Context())
			if !strings.Contains(output.String(), test.output) {
				t.Errorf("output lacks %q:\n%s", test.output, output)
			}
			if test.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var failure *vm.Failure
			if !errors.As(err, &failure) {
				t.Fatalf("Run: %v, want a Failure", err)
			}
			if !strings.Contains(failure.Reason, test.reason) || !strings.Contains(failure.Console, test.console) {
				t.Errorf("failure is %v\nwant %q and on the console %q", err, test.reason, test.console)
			}
		})
	}
}

func TestEndOfContextEndsTheMachine(t *testing.T) {
	machine := world(t)
	machine.Args, machine.Output = []string{"-test.run", "TestVMHangs", "-test.v"}, new(bytes.Buffer)
	ctx, cancel := context.WithCancelCause(t.Context())
	machine.Output = writeFunc(func([]byte) { cancel(errors.New("enough seen")) })
	var failure *vm.Failure
	if err := machine.Run(ctx); !errors.As(err, &failure) || failure.Reason != "enough seen" {
		t.Errorf("Run: %v, want the context's reason", err)
	}
}

type writeFunc func(b []byte)

func (f writeFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

// A vmexec that is killed without a chance to clean up leaves no qemu and no file.
func TestKilledRunnerTakesItsMachineAlong(t *testing.T) {
	machine := world(t)
	runner := exec.Command(filepath.Join(filepath.Dir(machine.Init), "vmexec"),
		"-kernel", os.Getenv(kernelVariable), "-init", machine.Init, machine.Program, "-test.run", "TestVMHangs")
	temp := t.TempDir()
	runner.Env = append(os.Environ(), "TMPDIR="+temp)
	out, err := runner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // the test has begun
		t.Fatal(err)
	}
	machines := childrenOf(t, runner.Process.Pid)
	if len(machines) != 1 {
		t.Errorf("vmexec has %d children, want one qemu", len(machines))
	}
	runner.Process.Kill()
	runner.Wait()
	for _, pid := range machines {
		for limit := time.Now().Add(30 * time.Second); running(pid); time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("qemu, process %d, outlived vmexec", pid)
			}
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left in TMPDIR: %v (%v)", left, err)
	}
}

func childrenOf(t *testing.T, parent int) (pids []int) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if fields := stat(path); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// running reports whether a process is there and more than a zombie.
func running(pid int) bool {
	fields := stat(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return len(fields) > 0 && fields[0] != "Z"
}

// stat returns the fields of proc_pid_stat(5) from the state on; the name before may contain anything.
func stat(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil // it has ended
	}
	_, after, _ := strings.Cut(string(text[bytes.LastIndexByte(text, ')')+1:]), " ")
	return strings.Fields(after)
}

// The modules of every kernel that is tried: each one comes behind what it needs, none is missing.
func TestModulesOfTheKernel(t *testing.T) {
	machine := world(t)
	paths, err := vm.LoadOrder(machine.Kernel, vm.Modules)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, path := range paths {
		at[strings.TrimSuffix(filepath.Base(path), ".ko")] = i + 1
	}
	for _, pair := range [][2]string{{"udp_tunnel", "vxlan"}, {"ip_tunnel", "ipip"}, {"tunnel4", "ipip"}, {"udp_tunnel", "wireguard"}, {"stp", "bridge"}} {
		if need, user := at[pair[0]], at[pair[1]]; need == 0 || user < need {
			t.Errorf("%s is loaded as number %d, %s as number %d", pair[0], need, pair[1], user)
		}
	}
	if _, err := vm.LoadOrder(machine.Kernel, []string{"flux_capacitor"}); err == nil || !strings.Contains(err.Error(), "flux_capacitor") {
		t.Errorf("a module that is not there: %v", err)
	}
}
