package express

import (
	"os"
	"path/filepath"

	"github.com/cilium/ebpf/link"
)

// sweep removes what lanes left whose device is gone without anybody having taken the pins away, as when a container or
// a network namespace ends: they hold programs and maps for ever, and nobody else knows of them. A link tells, since
// the kernel takes the device out of it; folders without one are left alone, and so is what can't be read.
func (p pins) sweep() {
	if p.err != nil {
		return
	}
	root := filepath.Dir(p.folder)
	folders, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, f := range folders {
		other := pins{folder: filepath.Join(root, f.Name())}
		if other.folder != p.folder && other.orphaned() {
			_ = other.remove() // the next lane tries it again
		}
	}
}

// orphaned reports whether the device that a lane was for doesn't exist any more.
func (p pins) orphaned() bool {
	l := p.link(egressPin)
	if l == nil {
		return false
	}
	defer l.Close()
	return deviceless(l)
}

// deviceless reports whether a link has outlived its device (kernel: tcx_link_fill_info says 0 then).
func deviceless(l link.Link) bool {
	info, err := l.Info()
	if err != nil {
		return false
	}
	tcx := info.TCX()
	return tcx != nil && tcx.Ifindex == 0
}
