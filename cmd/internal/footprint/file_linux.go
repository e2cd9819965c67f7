package footprint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A mapping is a row of bytes of a file that this process has mapped.
type mapping struct {
	start, length uintptr
	path          string
	readOnly      bool // and private
	own           bool // there are pages of it that aren't the file's any more, such as relocations
}

// forgetFile lets go of the pages of this program's own file. Starting has touched most of them, and what runs touches
// half: those come back from the page cache as they are needed. A mapping with pages of its own is left alone,
// since those would come back as the file has them (madvise(2), MADV_DONTNEED).
func forgetFile() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("finding this program's file: %w", err)
	}
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("reading this process's mappings: %w", err)
	}
	defer file.Close()
	all, err := readMappings(file)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.path != program || !m.readOnly || m.own {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.length, unix.MADV_DONTNEED); errno != 0 {
			err = errors.Join(err, fmt.Errorf("letting go of %d bytes of %s: %w", m.length, m.path, errno))
		}
	}
	return err
}

// readMappings reads proc_pid_smaps(5): a line for each mapping, and lines about it behind. What isn't said of a mapping counts
// against it.
func readMappings(smaps io.Reader) (all []mapping, err error) {
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 2 && fields[0] == "Anonymous:" && len(all) > 0:
			all[len(all)-1].own = fields[1] != "0"
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"):
			m, err := parseMapping(fields)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		}
	}
	return all, lines.Err()
}

// parseMapping reads START-END PERMISSIONS OFFSET DEVICE INODE, and PATH where there is a file.
func parseMapping(fields []string) (mapping, error) {
	from, to, _ := strings.Cut(fields[0], "-")
	start, startErr := strconv.ParseUint(from, 16, 64)
	end, endErr := strconv.ParseUint(to, 16, 64)
	if startErr != nil || endErr != nil || end < start {
		return mapping{}, fmt.Errorf("reading this process's mappings: %q is no range of addresses", fields[0])
	}
	return mapping{
		start: uintptr(start), length: uintptr(end - start), path: strings.Join(fields[5:], " "), own: true,
		readOnly: strings.HasPrefix(fields[1], "r-") && strings.HasSuffix(fields[1], "p"),
	}, nil
}
