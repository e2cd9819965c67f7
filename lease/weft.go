package lease

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Weft is what a weft host advertises beyond flannel, inside its BackendData as one object of
// numbers: flannel ignores the key, and in Kubernetes mode it splits BackendData at `:"`, so that
// a string in there would break its peers.
type Weft struct {
	Version int
	Caps    int // bits that both ends must have set to use a capability
	Port    int // UDP port, so that several agents can share one public address; 0: the config's
}

// Weft returns what the host advertises; false when it is no weft host, or says it in a way that
// can't be understood, and is then treated as a flannel host.
func (a Attrs) Weft() (Weft, bool) {
	var data struct{ Weft *Weft }
	if len(a.BackendData) == 0 || json.Unmarshal(a.BackendData, &data) != nil || data.Weft == nil {
		return Weft{}, false
	}
	w := *data.Weft
	return w, w.Version > 0 && w.Port >= 0 && w.Port <= 65535
}

// WithWeft returns a with w added to its BackendData, behind what the backend has there.
func (a Attrs) WithWeft(w Weft) (Attrs, error) {
	own, err := json.Marshal(w)
	if err != nil {
		return a, fmt.Errorf("encoding weft's own data: %w", err)
	}
	members := []byte{} // of the object so far, without its braces
	if len(a.BackendData) > 0 {
		fields, err := parseObject(a.BackendData)
		if err != nil {
			return a, fmt.Errorf("adding weft's own data to BackendData: %w", err)
		}
		if _, twice := fields["weft"]; twice {
			return a, errors.New("adding weft's own data to BackendData: it is there already")
		}
		object := bytes.TrimSpace(a.BackendData)
		if members = bytes.TrimSpace(object[1 : len(object)-1]); len(members) > 0 {
			members = append(bytes.Clone(members), ',')
		}
	}
	a.BackendData = fmt.Appendf(nil, `{%s"Weft":%s}`, members, own)
	return a, nil
}

// SameHost reports whether two records name one host: the same outer address of either family, and
// the same port. port is the config's, for records that don't say one; where it is 0 as well, any
// port will do. A v6-only host is told apart by its IPv6 address; all of them have PublicIP 0.0.0.0.
func SameHost(a, b Attrs, port int) bool {
	same4 := a.PublicIP.IsValid() && a.PublicIP == b.PublicIP
	same6 := a.PublicIPv6.IsValid() && a.PublicIPv6 == b.PublicIPv6
	if !same4 && !same6 {
		return false // before the ports, which are dear to read, for all thousands but one
	}
	portA, portB := a.port(port), b.port(port)
	return portA == portB || portA == 0 || portB == 0
}

// port is the UDP port at which the host is found.
func (a Attrs) port(config int) int {
	if w, ok := a.Weft(); ok && w.Port != 0 {
		return w.Port
	}
	return config
}
