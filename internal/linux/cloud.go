package linux

import "strings"

// clouds are told by what firmware says: any of the words in any of the fields.
var clouds = []struct {
	name  string
	words []string
}{
	{"aws", []string{"amazon ec2", "amazon.com"}},
	{"google", []string{"google compute engine"}},
	{"azure", []string{"7783-7084-3265-9085-8269-3286-77"}}, // chassis tag of Azure; the vendor is that of every Hyper-V
	{"oracle", []string{"oraclecloud.com"}},
	{"alibaba", []string{"alibaba cloud"}},
	{"digitalocean", []string{"digitalocean"}},
	{"hetzner", []string{"hetzner"}},
	{"openstack", []string{"openstack"}},
}

// Cloud names the cloud that the host runs in, by its firmware (DMI). It is
// empty when the host is none of those that are known; ok is false when the
// firmware says nothing at all.
func (h *Host) Cloud() (name string, ok bool) {
	var said []string
	for _, field := range []string{"sys_vendor", "product_name", "chassis_asset_tag", "bios_vendor", "bios_version"} {
		_ = read(h.path("sys/class/dmi/id/"+field), 256, func(b []byte) error {
			said = append(said, strings.ToLower(strings.TrimSpace(string(b))))
			return nil
		})
	}
	for _, c := range clouds {
		for _, w := range c.words {
			for _, s := range said {
				if strings.Contains(s, w) {
					return c.name, true
				}
			}
		}
	}
	return "", len(said) > 0
}
