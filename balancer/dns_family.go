package balancer

import (
	"net/netip"
	"slices"
)

// network returns what to ask a DNSResolver for. Where one family is only
// preferred, both are asked for at once.
func (f AddressFamily) network() string {
	switch f {
	case FamilyV4Only:
		return "ip4"
	case FamilyV6Only:
		return "ip6"
	}
	return "ip"
}

// choose returns the addresses of the family, each once, in their order.
func (f AddressFamily) choose(addresses []netip.Addr) []netip.Addr {
	var v4, v6, all []netip.Addr
	for _, ip := range addresses {
		ip = ip.Unmap()
		if slices.Contains(all, ip) {
			continue
		}
		all = append(all, ip)
		if ip.Is4() {
			v4 = append(v4, ip)
		} else {
			v6 = append(v6, ip)
		}
	}
	switch {
	case f == FamilyAll:
		return all
	case f == FamilyV4Only, f == FamilyV4Preferred && len(v4) > 0, f == FamilyAuto && len(v6) == 0:
		return v4
	}
	return v6
}
