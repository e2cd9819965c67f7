package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/google/renameio/v2"

	"weft/kernelmode"
)

// A vtep is this host's Ethernet addresses towards VXLAN peers, of flannel's IPv4 and IPv6 device. Peers
// learn them from the lease, so they are made once and kept: over restarts, and over switches between the
// kernel's devices and user space.
type vtep struct{ mac, mac6 kernelmode.MAC }

// A keepsake is what the agent keeps of its datapaths between two runs, in the state directory.
type keepsake struct {
	MAC     string   `json:"mac"`               // of the VTEP, for IPv4
	MAC6    string   `json:"mac6"`              // for IPv6
	Devices []string `json:"devices,omitempty"` // tunnel devices that were made, and may still be there
	Lane    keptLane `json:"lane,omitzero"`     // that was laid, and may still be there
}

// A keptLane is where an express lane lies: on a TUN device, and on the underlay's.
type keptLane struct {
	Device   string `json:"device"`
	Underlay string `json:"underlay"`
}

// keepsakePath is where it is kept.
func keepsakePath(stateDir string) string { return filepath.Join(stateDir, "datapath.json") }

// recallKeepsake reads it. One that can't be read is as good as none, and is named by the error.
func recallKeepsake(stateDir string) (m keepsake, err error) {
	path := keepsakePath(stateDir)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		m, err = parseKeepsake(text)
	}
	if err != nil {
		return keepsake{}, fmt.Errorf("reading %s: %w: delete it", path, err)
	}
	return m, nil
}

// parseKeepsake takes nothing that no run has written: its devices are deleted by name.
func parseKeepsake(text []byte) (m keepsake, err error) {
	if err := json.Unmarshal(text, &m); err != nil {
		return keepsake{}, err
	}
	for _, d := range m.Devices {
		if d != kernelmode.IPIPDevice && !tunnelName.MatchString(d) {
			return keepsake{}, fmt.Errorf("device %q is none of weft's", d)
		}
	}
	if m.Lane.Device != "" && !deviceName.MatchString(m.Lane.Device) {
		return keepsake{}, fmt.Errorf("device %q has no name that weft gives", m.Lane.Device)
	}
	return m, nil
}

// tunnelName is what kernelmode.VXLANDevice returns.
var tunnelName = regexp.MustCompile(`^flannel(-v6)?\.[0-9]{1,8}$`)

// save writes it, if it isn't what stands there already.
func (m keepsake) save(stateDir string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	path := keepsakePath(stateDir)
	if have, err := os.ReadFile(path); err == nil && slices.Equal(have, text) {
		return nil
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("keeping the VTEP's MAC address: %w", err)
	}
	if err := renameio.WriteFile(path, text, 0o600, renameio.WithTempDir(stateDir)); err != nil {
		return fmt.Errorf("keeping the VTEP's MAC address in %s: %w", path, err)
	}
	return nil
}

// remember finds the VTEP's addresses: those of devices that stand already, whoever made them; else those
// of an earlier run; else new ones, which are kept.
func (m *member) remember() error {
	kept, err := recallKeepsake(m.options.StateDir)
	if err != nil {
		m.log.Warn("what an earlier run kept of its datapath is lost", "why", err)
	}
	vni := m.fabric.vni()
	var v vtep
	if v.mac, err = address(m.kernel, kernelmode.VXLANDevice(vni, false), kept.MAC); err != nil {
		return err
	}
	if v.mac6, err = address(m.kernel, kernelmode.VXLANDevice(vni, true), kept.MAC6); err != nil {
		return err
	}
	kept.MAC, kept.MAC6 = v.mac.String(), v.mac6.String()
	m.fabric.vtep, m.kept = v, kept
	m.keep()
	return nil
}

// keep writes the keepsake. What can't be kept costs the next start, not this one.
func (m *member) keep() {
	if err := m.kept.save(m.options.StateDir); err != nil {
		m.log.Warn("the next start won't know this one's datapath, and peers have to learn another MAC address", "why", err)
	}
}

// making notes devices before they are made, so that whatever run comes next finds them.
func (m *member) making(devices []string) {
	m.kept.Devices = slices.Compact(slices.Sorted(slices.Values(slices.Concat(m.kept.Devices, devices))))
	m.keep()
}

// removed forgets devices that are gone.
func (m *member) removed(devices []string) {
	m.kept.Devices = slices.DeleteFunc(slices.Clone(m.kept.Devices), func(d string) bool { return slices.Contains(devices, d) })
	m.keep()
}

// leftovers are devices of kernel datapaths that an earlier run, or flannel in the same network, may have
// left, but for those that are wanted.
func (m *member) leftovers(wanted ...string) []string {
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(m.kept.Devices, m.fabric.devices()))))
	return slices.DeleteFunc(all, func(d string) bool { return slices.Contains(wanted, d) })
}

// address is the device's, else the kept one, else a new one.
func address(k kernelmode.Kernel, device, kept string) (kernelmode.MAC, error) {
	if mac, ok, err := kernelmode.DeviceMAC(k, device); ok || err != nil {
		return mac, err
	}
	if mac, err := kernelmode.ParseMAC(kept); err == nil {
		return mac, nil
	}
	return kernelmode.NewMAC(), nil
}
