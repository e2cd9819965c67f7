package steer

import "github.com/cilium/ebpf/asm"

// Keys of the map of sockets.
const (
	key4 uint32 = iota
	key6
	families
)

// Offsets in struct bpf_sk_lookup (include/uapi/linux/bpf.h).
const (
	contextFamily    = 8
	contextProtocol  = 12
	contextLocalPort = 60 // in the host's byte order
)

const (
	familyIPv4  = 2  // AF_INET
	familyIPv6  = 10 // AF_INET6
	protocolUDP = 17
	pass        = 1 // SK_PASS: the lookup goes on, with the socket assigned here if any
)

// instructions are the program: datagrams of the port go to the socket of their family. What it can't
// assign is looked up as if it weren't there.
func instructions(port uint16, sockets int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, contextProtocol, asm.Word),
		asm.JNE.Imm(asm.R2, protocolUDP, "pass"),
		asm.LoadMem(asm.R2, asm.R6, contextLocalPort, asm.Word),
		asm.JNE.Imm(asm.R2, int32(port), "pass"),

		asm.StoreImm(asm.RFP, -4, int64(key4), asm.Word),
		asm.LoadMem(asm.R2, asm.R6, contextFamily, asm.Word),
		asm.JEq.Imm(asm.R2, familyIPv4, "find"),
		asm.JNE.Imm(asm.R2, familyIPv6, "pass"),
		asm.StoreImm(asm.RFP, -4, int64(key6), asm.Word),

		asm.LoadMapPtr(asm.R1, sockets).WithSymbol("find"),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(), // a reference to the socket, to be released
		asm.JEq.Imm(asm.R0, 0, "pass"),

		asm.Mov.Reg(asm.R7, asm.R0),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnSkAssign.Call(),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.FnSkRelease.Call(),

		asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"),
		asm.Return(),
	}
}
