package linux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestKernelLogKeeps(t *testing.T) {
	t.Parallel()
	epoch := time.Unix(1_700_000_000, 0)
	k := &KernelLog{host: &Host{}, fd: -1}
	for _, r := range []string{
		"4,100,5000000,-;TCP: request_sock_TCP: Possible SYN flooding on port 443. Sending cookies.\n SUBSYSTEM=net",
		"12,101,5000001,-;nf_conntrack: table full (a program wrote this)",
		"garbage", ";", "4,x,y;z", "4,102,9000000,-;" + strings.Repeat("x", 1000),
	} {
		k.keep([]byte(r), epoch)
	}
	if len(k.lines) != 2 || k.lines[0].text != "TCP: request_sock_TCP: Possible SYN flooding on port 443. Sending cookies." ||
		!k.lines[0].at.Equal(epoch.Add(5*time.Second)) || len(k.lines[1].text) != maxKernelLine {
		t.Errorf("%+v", k.lines)
	}
	for range 3 * maxKernelLines {
		k.keep([]byte("6,1,1,-;eth0: link up"), epoch)
	}
	if len(k.lines) > maxKernelLines || k.Dropped() == 0 {
		t.Errorf("%d lines, %d dropped", len(k.lines), k.Dropped())
	}
	if _, looked := k.Around(epoch, time.Hour); looked {
		t.Error("a log that is not open was looked at")
	}
}

func TestKernelLogAround(t *testing.T) {
	k := (&Host{}).KernelLog()
	defer k.Close()
	text, looked := k.Around(time.Now(), time.Second)
	if !looked {
		t.Skip("/dev/kmsg cannot be read here")
	}
	if len(text) > maxKernelText {
		t.Errorf("%d bytes", len(text))
	}
}

func FuzzKernelRecord(f *testing.F) {
	f.Add([]byte("4,100,5000000,-;text\n SUBSYSTEM=net"))
	f.Add([]byte("4,1,99999999999999999999,-;x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k := &KernelLog{host: &Host{}, fd: -1}
		k.keep(b, time.Unix(0, 0))
		if len(k.lines) > 1 {
			t.Error("a record is one line")
		}
	})
}

func TestCloud(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fields map[string]string
		want   string
		ok     bool
	}{
		{map[string]string{"sys_vendor": "Amazon EC2\n", "product_name": "m7i.large\n"}, "aws", true},
		{map[string]string{"bios_version": "4.11.amazon\n", "bios_vendor": "Xen\n", "sys_vendor": "Xen\n"}, "", true},
		{map[string]string{"sys_vendor": "Google\n", "product_name": "Google Compute Engine\n"}, "google", true},
		{map[string]string{"sys_vendor": "Microsoft Corporation\n", "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77\n"}, "azure", true},
		{map[string]string{"sys_vendor": "Microsoft Corporation\n", "product_name": "Virtual Machine\n"}, "", true},
		{map[string]string{"sys_vendor": "QEMU\n", "chassis_asset_tag": "OracleCloud.com\n"}, "oracle", true},
		{map[string]string{"sys_vendor": "Dell Inc.\n"}, "", true},
		{nil, "", false},
	} {
		root := t.TempDir()
		dir := filepath.Join(root, "sys/class/dmi/id")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for f, v := range c.fields {
			if err := os.WriteFile(filepath.Join(dir, f), []byte(v), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, ok := (&Host{Root: root}).Cloud(); got != c.want || ok != c.ok {
			t.Errorf("%v: %q %v, want %q %v", c.fields, got, ok, c.want, c.ok)
		}
	}
}
