package leasetest

import (
	"testing"
	"time"

	"weft/lease"
)

func TestMemory(t *testing.T) {
	Run(t, func(t *testing.T) Network {
		m := NewMemory(24 * time.Hour)
		return Network{
			Open: func(*testing.T) lease.Store { return m },
			SetConfig: func(_ *testing.T, config string) {
				if config == "" {
					m.SetConfig(nil)
				} else {
					m.SetConfig([]byte(config))
				}
			},
			Put:    func(_ *testing.T, name, value string) { m.Put(name, value) },
			Delete: func(_ *testing.T, name string) { m.Delete(name) },
			Value: func(_ *testing.T, name string) string {
				m.mu.Lock()
				defer m.mu.Unlock()
				return string(m.records[name].value)
			},
		}
	})
}
