package demo

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// A Site is what a demo has built: enough to draw it, to try it and to tell how to play with it.
type Site struct {
	Lab      string // ID of its netlab
	Dir      string // the lab's directory
	Program  string // path of the weft binary
	Endpoint string // etcd's client URL, inside the lab
	Hosts    []Host
}

// A Host is one host of a site and the container on it.
type Host struct {
	Name       string     // also its namespace, behind the lab's ID and a dash
	Addr       netip.Addr // on the underlay
	Socket     string     // of its agent, for weft status
	SubnetFile string
	Subnet     netip.Prefix // leased
	MTU        int          // bytes, what the agent tells Docker

	Container     string // name, also of its namespace
	ContainerAddr netip.Addr
}

// siteFile is the Site, as JSON, in the lab's directory.
const siteFile = "site.json"

// save writes the site for later processes; the lab's directory is root's alone.
func (s *Site) save() error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("describing the demo: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir, siteFile), text, 0o600); err != nil {
		return fmt.Errorf("describing the demo: %w", err)
	}
	return nil
}

// loadSite reads what save wrote.
func loadSite(dir string) (*Site, error) {
	text, err := os.ReadFile(filepath.Join(dir, siteFile))
	if err != nil {
		return nil, fmt.Errorf("reading what the demo is: %w", err)
	}
	s := new(Site)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("reading what the demo is from %s: %w", filepath.Join(dir, siteFile), err)
	}
	return s, nil
}
