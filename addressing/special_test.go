package addressing

import "testing"

func TestIsSpecial(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.0/8": false, "192.168.0.0/16": false, "198.51.100.0/24": false, "100.64.0.0/10": false,
		"127.0.0.0/24": true, "0.0.0.0/0": true, "169.254.7.0/24": true, "224.0.0.0/4": true, "255.255.255.255/32": true,
		"2001:db8::/32": false, "fd00::/8": false, "2000::/3": false,
		"::1/128": true, "::/0": true, "64:ff9b::/96": true, "fe80::/64": true, "ff02::/16": true,
	} {
		if got := IsSpecial(prefix(text)); got != want {
			t.Errorf("IsSpecial(%s) = %v", text, got)
		}
	}
}

func TestIPv4Length(t *testing.T) {
	for network, want := range map[string]int{
		"10.0.0.0/8": 24, "10.42.0.0/16": 24, "10.42.0.0/20": 24, "10.42.0.0/22": 26, "10.42.0.0/24": 28, "10.42.0.0/28": 30, "10.42.0.0/30": 31,
	} {
		if got := IPv4Length(prefix(network)); got != want {
			t.Errorf("IPv4Length(%s) = %d, want %d", network, got, want)
		}
	}
}
