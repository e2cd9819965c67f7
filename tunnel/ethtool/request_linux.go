package ethtool

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// header is struct genlmsghdr: command, version, and two bytes that are 0. The library's own nl.Genlmsg has the first
// two alone and is sent as four: what lies behind it in memory goes along, and the race detector sees that.
type header [4]byte

// Len and Serialize are those of nl.NetlinkRequestData.
func (h header) Len() int          { return len(h) }
func (h header) Serialize() []byte { return h[:] }

// Family asks for the number that the kernel gave ethtool netlink when it booted: 0, and the kernel's error, where it has none.
func Family() (uint16, error) {
	request := nl.NewNetlinkRequest(unix.GENL_ID_CTRL, 0)
	request.AddData(header{unix.CTRL_CMD_GETFAMILY, 1})
	request.AddData(nl.NewRtAttr(unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated("ethtool")))
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, fmt.Errorf("finding ethtool netlink: %w", err)
	}
	for _, answer := range answers {
		for _, id := range descend(answer[min(len(header{}), len(answer)):], unix.CTRL_ATTR_FAMILY_ID) {
			if len(id) >= 2 {
				return binary.NativeEndian.Uint16(id), nil
			}
		}
	}
	return 0, errors.New("finding ethtool netlink: the kernel's answer has no number")
}

// FeaturesRequest is one of the messages about a device's features, ETHTOOL_MSG_FEATURES_GET or _SET, with what both begin
// with. flags are netlink's (unix.NLM_F_ACK).
func FeaturesRequest(family uint16, command uint8, flags int, device string) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(int(family), flags)
	request.AddData(header{command, 1})
	about := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_HEADER|unix.NLA_F_NESTED, nil)
	about.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_NAME, nl.ZeroTerminated(device))
	request.AddData(about)
	return request
}
