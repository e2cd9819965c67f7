package tunnel

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A holder is a process that has a TUN device open.
type holder struct {
	pid     int
	command string
}

func (h holder) String() string { return fmt.Sprintf("pid %d (%s)", h.pid, h.command) }

// tunHolders returns the processes that hold the TUN device called name, in the caller's network
// namespace; a device of that name in another namespace is somebody else's. proc is where procfs is
// mounted. Processes that may not be looked at are left out, so the result may be empty although
// the device is held.
//
// The kernel prints "iff:<tab>name" in the fdinfo of every TUN descriptor (tun_chr_show_fdinfo).
func tunHolders(proc, name string) (holders []holder) {
	own, err := os.Readlink(filepath.Join(proc, "thread-self", "ns", "net"))
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join(proc, entry.Name())
		if sharesNamespace(dir, own) && holdsTUN(dir, name) {
			holders = append(holders, holder{pid: pid, command: commandOf(dir)})
		}
	}
	return holders
}

// sharesNamespace reports whether any thread of the process in dir is in the network namespace.
func sharesNamespace(dir, namespace string) bool {
	links, err := filepath.Glob(filepath.Join(dir, "task", "*", "ns", "net"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(links, func(link string) bool {
		ns, err := os.Readlink(link)
		return err == nil && ns == namespace
	})
}

// holdsTUN reports whether a descriptor of the process in dir is attached to the device.
func holdsTUN(dir, name string) bool {
	infos, err := filepath.Glob(filepath.Join(dir, "fdinfo", "*"))
	if err != nil {
		return false
	}
	for _, path := range infos {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // closed in the meantime
		}
		for line := range strings.Lines(string(text)) {
			if device, ok := strings.CutPrefix(line, "iff:"); ok && strings.TrimSpace(device) == name {
				return true
			}
		}
	}
	return false
}

// commandOf returns the program's name and first argument, which says which weft it is: "weft agent".
func commandOf(dir string) string {
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	words := bytes.Split(bytes.TrimRight(line, "\x00"), []byte{0})
	if err != nil || len(words[0]) == 0 {
		return "unknown program"
	}
	command := filepath.Base(string(words[0]))
	if len(words) > 1 && !bytes.HasPrefix(words[1], []byte("-")) {
		command += " " + string(words[1])
	}
	return command
}
