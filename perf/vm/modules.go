package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"
)

// Modules are what every machine loads before the test: the kernel would load most of them by itself when
// they are first used, through a modprobe that isn't there.
var Modules = []string{
	"tun", "veth", "bridge", "dummy", // devices
	"vxlan", "ipip", "sit", "ip6_tunnel", "fou", "fou6", "wireguard", // tunnels
	"sch_netem", "sch_fq", "sch_htb", "sch_tbf", "sch_ingress", // traffic control
	"cls_bpf", "cls_matchall", "cls_u32", "act_bpf", "act_gact", "act_mirred",
	"nf_tables", "nft_ct", "nft_nat", "nft_masq", "nft_chain_nat", "nft_compat", // packet filter
	"iptable_filter", "iptable_nat", "ip6table_filter", "ip6table_nat",
	"xt_MASQUERADE", "xt_conntrack", "xt_comment", "xt_mark", "xt_addrtype",
}

// loadOrder returns the files of the modules asked for and of all that they depend on, each once and behind
// what it needs. What the image contains is left out.
func (k *Kernel) loadOrder(names []string) (paths []string, err error) {
	done := map[string]bool{}
	var add func(name, wantedBy string) error
	add = func(name, wantedBy string) error {
		if done[name] || k.builtin[name] {
			return nil
		}
		done[name] = true
		path, ok := k.modules[name]
		if !ok {
			return fmt.Errorf("kernel %s has no module %s, which %s needs", k.Version, name, wantedBy)
		}
		needs, err := moduleNeeds(path)
		if err != nil {
			return err
		}
		for _, need := range needs {
			if err := add(need, name); err != nil {
				return err
			}
		}
		paths = append(paths, path)
		return nil
	}
	for _, name := range names {
		if err := add(name, "the virtual machine"); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// moduleNeeds reads from the module itself what depmod would put into modules.dep, a file that packages
// don't contain since installing makes it.
func moduleNeeds(path string) ([]string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading module %s: %w", path, err)
	}
	defer file.Close()
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("reading module %s: no section .modinfo", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("reading section .modinfo of module %s: %w", path, err)
	}
	return needs(info), nil
}

// needs parses .modinfo: NUL-terminated strings KEY=VALUE. "depends" is a list with commas.
func needs(info []byte) (names []string) {
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(entry), "depends="); ok {
			for name := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' }) {
				names = append(names, underscored(name))
			}
		}
	}
	return names
}
