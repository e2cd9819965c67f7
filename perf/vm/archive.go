package vm

import (
	"fmt"
	"io"
	"os"
	"path"
)

// An archive writes a cpio file in the format that kernels unpack as initramfs ("newc"). Names are
// slash-separated and relative to the root; a folder must come before what is in it.
type archive struct {
	w     io.Writer
	inode int
	err   error // the first one; everything after it is skipped
}

// cpioMagic is "newc" without checksum.
const cpioMagic = "070701"

// Modes as in stat(2): S_IFDIR and S_IFREG with permissions.
const (
	modeFolder  = 0o040755
	modeProgram = 0o100755
	modeData    = 0o100644
)

// folder adds a folder and those above it, as often as asked: the kernel takes a second one for the first.
func (a *archive) folder(name string) {
	if above := path.Dir(name); above != "." {
		a.folder(above)
	}
	a.entry(name, modeFolder, nil)
}

// file adds a file of the given mode with its folders.
func (a *archive) file(name string, mode int, data []byte) {
	if folder := path.Dir(name); folder != "." {
		a.folder(folder)
	}
	a.entry(name, mode, data)
}

// copy adds a file of this machine.
func (a *archive) copy(name string, mode int, from string) {
	data, err := os.ReadFile(from)
	if err != nil {
		a.fail(err)
		return
	}
	a.file(name, mode, data)
}

// close ends the archive and returns the first error of all.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}

// entry writes header, name and data, the latter two padded to 4 bytes.
func (a *archive) entry(name string, mode int, data []byte) {
	a.inode++
	const links, zero = 1, 0
	header := cpioMagic
	for _, field := range []int{
		a.inode, mode, zero, zero, links, zero, len(data), // inode, mode, uid, gid, links, mtime, size
		zero, zero, zero, zero, len(name) + 1, zero, // device, node (major, minor), name with NUL, checksum
	} {
		header += fmt.Sprintf("%08X", field)
	}
	a.write([]byte(header + name + "\x00"))
	a.pad(len(header) + len(name) + 1)
	a.write(data)
	a.pad(len(data))
}

func (a *archive) pad(n int) { a.write(make([]byte, -n&3)) }

func (a *archive) write(b []byte) {
	if a.err == nil {
		_, err := a.w.Write(b)
		a.fail(err)
	}
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}
