package netlab

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// genlHeader is struct genlmsghdr: command, version, and two bytes that are 0. The library's own nl.Genlmsg has the first
// two alone and is sent as four: what lies behind it in memory goes along, and the race detector sees that.
type genlHeader [4]byte

// Len and Serialize are those of nl.NetlinkRequestData.
func (h genlHeader) Len() int          { return len(h) }
func (h genlHeader) Serialize() []byte { return h[:] }

// genlFamily asks for the number that the kernel gave a family of generic netlink when it booted.
func genlFamily(name string) (uint16, error) {
	request := nl.NewNetlinkRequest(unix.GENL_ID_CTRL, 0)
	request.AddData(genlHeader{unix.CTRL_CMD_GETFAMILY, 1})
	request.AddData(nl.NewRtAttr(unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated(name)))
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, fmt.Errorf("finding %s netlink: %w", name, err)
	}
	for _, answer := range answers {
		attributes, err := nl.ParseRouteAttr(answer[min(len(genlHeader{}), len(answer)):])
		if err != nil {
			return 0, fmt.Errorf("finding %s netlink: %w", name, err)
		}
		for _, a := range attributes {
			if a.Attr.Type == unix.CTRL_ATTR_FAMILY_ID && len(a.Value) >= 2 {
				return binary.NativeEndian.Uint16(a.Value), nil
			}
		}
	}
	return 0, fmt.Errorf("finding %s netlink: the kernel's answer has no number", name)
}
