package kernelmode

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// readSysctls leaves out parameters that this kernel doesn't have.
func (k *Netlink) readSysctls(names []string, s *State) error {
	return k.within(func() error {
		for _, name := range names {
			if value, err := readSysctl(name); err == nil {
				s.Sysctls = append(s.Sysctls, Sysctl{Name: name, Value: value})
			} else if !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

func readSysctl(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join("/proc/sys", name))
	return strings.TrimSpace(string(text)), err
}

// writeSysctl doesn't ask for the file to be created, or a parameter that isn't there would be reported
// as a lack of permission.
func writeSysctl(s Sysctl) error {
	file, err := os.OpenFile(filepath.Join("/proc/sys", s.Name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(s.Value + "\n")
	return errors.Join(err, file.Close())
}
