package report

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

var day = time.Date(2026, 3, 1, 14, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return day.Add(time.Duration(seconds * float64(time.Second))) }

// frames makes frames of "seconds direction flags seq ack bytes info" rows.
func frame(number int64, seconds float64, client bool, flags string, seq, ack, size int64, info string) fact.Frame {
	f := fact.Frame{Number: number, Time: at(seconds), FromClient: client, Flags: flags, Seq: seq, Ack: ack, Bytes: size, Info: info, Window: 502, TTL: 64, IPID: number * 7 % 65536}
	if !client {
		f.TTL = 57
	}
	return f
}

func kind(f fact.Frame, k fact.FrameKind, note string) fact.Frame {
	f.Kind, f.Note = k, note
	return f
}

// idleLadder is a load balancer that forgot a connection: silence, a request,
// a reset with another TTL.
func idleLadder() *fact.Ladder {
	rst := kind(frame(14_711, 353.318_9, false, "R", 1461, 0, 0, ""), fact.FrameReset, "ttl 63 where the server's packets have 57, window 0, 0.9 ms after the request: 23 ms nearer than the server")
	rst.TTL, rst.Window = 63, 0
	request := kind(frame(14_710, 353.318, true, "PA", 2102, 1461, 412, "HTTP POST /api/orders"), fact.FrameTrigger, "first packet after 350.02 s of silence")
	last := kind(frame(96, 3.298, true, "A", 2102, 1461, 0, ""), fact.FrameProof, "the last packet before the silence")
	answer := frame(95, 3.257, false, "PA", 1013, 2102, 448, "HTTP 200 OK")
	answer.Skipped = 1234
	return &fact.Ladder{
		Client: netip.MustParseAddrPort("10.20.4.17:40122"), Server: netip.MustParseAddrPort("203.0.113.80:443"),
		Frames: []fact.Frame{
			frame(11, 3.1, true, "S", 0, 0, 0, ""), frame(12, 3.1234, false, "SA", 0, 1, 0, ""), frame(13, 3.123_45, true, "A", 1, 1, 0, ""),
			frame(14, 3.124, true, "PA", 1, 1, 517, "TLS ClientHello api.example.org"), answer, last, request, rst,
			kind(frame(14_712, 353.52, true, "PA", 2102, 1461, 412, ""), fact.FrameNextStep, ""),
		},
	}
}

func refusedLadder() *fact.Ladder {
	rst := kind(frame(2, 60.000_087, false, "RA", 0, 1, 0, ""), fact.FrameReset, "")
	rst.TTL = 64
	return &fact.Ladder{
		Client: netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:50001"), Server: netip.MustParseAddrPort("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:5432"),
		Points: []string{"eth0 of db1"},
		Frames: []fact.Frame{kind(frame(1, 60, true, "S", 0, 0, 0, ""), fact.FrameTrigger, "nothing listens on port 5432"), rst},
	}
}

// forgedLadder has two points of capture: the RST was seen at the client only.
func forgedLadder() *fact.Ladder {
	p := func(point int, f fact.Frame) fact.Frame {
		f.Point, f.File = point, []string{"client.pcapng", "server.pcapng"}[point]
		return f
	}
	rst := kind(frame(8, 120.0412, false, "R", 1, 0, 0, ""), fact.FrameReset, "seen at the client only: the server never sent it")
	rst.TTL = 119
	return &fact.Ladder{
		Client: netip.MustParseAddrPort("192.0.2.10:51515"), Server: netip.MustParseAddrPort("198.51.100.7:22"), Points: []string{"client.pcapng", "server.pcapng"},
		Frames: []fact.Frame{
			p(0, frame(4, 120, true, "S", 0, 0, 0, "")), p(1, frame(9, 120.009, true, "S", 0, 0, 0, "")),
			p(1, frame(10, 120.0091, false, "SA", 0, 1, 0, "")), p(0, frame(5, 120.0182, false, "SA", 0, 1, 0, "")),
			p(0, frame(6, 120.0184, true, "A", 1, 1, 0, "")), p(1, frame(11, 120.0274, true, "A", 1, 1, 0, "")),
			p(1, kind(frame(12, 120.03, false, "PA", 1, 1, 41, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3"), fact.FrameProof, "the server goes on sending")),
			p(0, rst),
			p(0, kind(frame(9, 120.0421, true, "PA", 1, 1, 23, "SSH-2.0-OpenSSH_9.6"), fact.FrameLost, "")),
		},
	}
}

func tlsLadder() *fact.Ladder {
	alert := kind(frame(44, 181.052, false, "PA", 1, 518, 7, "TLS Alert fatal: protocol_version"), fact.FrameProof, "the server says why")
	return &fact.Ladder{
		Client: netip.MustParseAddrPort("10.20.4.18:33444"), Server: netip.MustParseAddrPort("203.0.113.81:8443"),
		Frames: []fact.Frame{
			frame(40, 181, true, "S", 0, 0, 0, ""), frame(41, 181.0251, false, "SA", 0, 1, 0, ""), frame(42, 181.0252, true, "A", 1, 1, 0, ""),
			frame(43, 181.0259, true, "PA", 1, 1, 517, "TLS ClientHello old.example.org (TLS 1.0)"), alert,
			kind(frame(45, 181.0521, false, "R", 8, 0, 0, ""), fact.FrameReset, "closed with data unread"),
		},
	}
}

func flowOf(l *fact.Ladder) fact.FindingFlow {
	return fact.FindingFlow{Client: l.Client, Server: l.Server, CommunityID: "1:wCb3OG7yAFWelaUydu0D+125CLM="}
}

func idleFinding() fact.Finding {
	l := idleLadder()
	return fact.Finding{
		Schema: fact.Schema, ID: "edge-1", Time: l.Frames[7].Time, Source: "capture", Flow: flowOf(l), Outcome: "reset", Phase: "established", Harmful: true,
		Sender: fact.Sender{Role: fact.Middlebox, Grade: fact.Probable, Score: 0.962, Where: "7 hops before the server, in its name", Says: "The RST has another TTL, window and IP ID than the packets of the server and came 23 ms faster than the server can answer."},
		Cause: fact.CauseVerdict{
			ID: "middlebox-idle-timeout", Title: "A device between dropped an idle connection", Class: "server-configuration", Grade: fact.Probable, Score: 0.934,
			Says: "The connection was silent for 350.02 s. A load balancer or NAT gateway on the way forgot it after 350 s, and answered the next packet with a reset. The server knew nothing of it.",
		},
		Alternatives: []fact.Alternative{{ID: "half-open-after-reboot", Title: "The server restarted and does not know the connection", Score: 0.041}, {ID: "linux-conntrack-entry-lost", Title: "A Linux router lost its conntrack entry", Score: 0.018}},
		Proof: []fact.Proof{
			{Says: "silence of 350.02 s before the request, and 11 other connections of the capture were reset after 350 to 351 s", Witness: "timing", Weight: 24, File: "edge.pcapng", Frame: 14_710},
			{Says: "the RST has TTL 63, the server's packets have 57", Witness: "wire", Weight: 14, File: "edge.pcapng", Frame: 14_711},
			{Says: "it came 0.9 ms after the request; the server needs at least 23.4 ms", Witness: "timing", Weight: 12, File: "edge.pcapng", Frame: 14_711},
			{Says: "the window field is 0", Witness: "wire", Weight: 0, File: "edge.pcapng", Frame: 14_711},
		},
		Missing: []fact.Missing{{Fact: "rst.seen_at_sender", How: "capture at the server at the same time and give both files: holdfast explain edge.pcapng server.pcapng"}},
		Effect:  fact.Effect{Accepted: "accepted", AppError: "ECONNRESET", BytesLost: new(int64(412)), Says: "The request of 412 bytes was lost. A POST cannot be repeated safely by the client."},
		Fixes: []fact.Fix{
			{Title: "Send keepalives before the timer of the device ends", Commands: []string{"sysctl -w net.ipv4.tcp_keepalive_time=120 net.ipv4.tcp_keepalive_intvl=30", "printf 'net.ipv4.tcp_keepalive_time = 120\\n' > /etc/sysctl.d/60-keepalive.conf"}, Risk: "low: a packet each 120 s for each idle connection whose program sets SO_KEEPALIVE", Undo: []string{"rm /etc/sysctl.d/60-keepalive.conf && sysctl -w net.ipv4.tcp_keepalive_time=7200"}},
			{Title: "Let the client's pool drop connections that idle for 300 s", Commands: []string{"http.Transport{IdleConnTimeout: 300 * time.Second}"}, Risk: "none"},
		},
		Confirm:    "holdfast probe idle 203.0.113.80:443 --max 400s",
		Prevent:    "Keep every idle timer shorter than the timers of the devices on the way.",
		References: []string{"RFC 5382 REQ-5", "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/network-load-balancers.html#connection-idle-timeout"},
		Where:      &fact.Where{File: "edge.pcapng", Stream: 12, Frame: 14_711},
	}
}

// storySamples are findings of five incidents: an idle timer that hit twelve
// connections, a closed port, a forged reset, a refused TLS version, and the
// benign noise of a health check.
func storySamples() []fact.Finding {
	var list []fact.Finding
	for i := range 12 {
		f := idleFinding()
		f.ID = fmt.Sprintf("edge-%d", i+1)
		f.Time = f.Time.Add(time.Duration(i) * 47 * time.Second)
		f.Flow.Client = netip.AddrPortFrom(f.Flow.Client.Addr(), uint16(40122+2*i))
		f.Where = &fact.Where{File: "edge.pcapng", Stream: 12 + i, Frame: 14_711 + 301*i}
		if i > 0 {
			f.Effect.BytesLost = new(int64(100 + i))
		}
		list = append(list, f)
	}
	refused, forged, alert := refusedLadder(), forgedLadder(), tlsLadder()
	list = append(
		list, fact.Finding{
			Schema: fact.Schema, ID: "refused-1", Time: refused.Frames[1].Time, Source: "capture", Flow: flowOf(refused), Outcome: "refused", Phase: "connect", Harmful: true,
			Sender: fact.Sender{Role: fact.ServerKernel, Grade: fact.Proved, Score: 0.998},
			Cause:  fact.CauseVerdict{ID: "connection-refused-closed-port", Title: "Nothing listens on the port", Class: "server-configuration", Grade: fact.Proved, Score: 0.9985, Says: "No program listens on port 5432 of the server, so its kernel refused the connection."},
			Proof:  []fact.Proof{{Says: "RST ACK answers the SYN within 87 µs, and the capture is at the server", Witness: "wire", Weight: 30, File: "db1.pcap", Frame: 2}},
			Effect: fact.Effect{AppError: "ECONNREFUSED"}, Fixes: []fact.Fix{{Title: "Start the service, or correct the port", Commands: []string{"ss -ltnp 'sport = :5432'"}, Risk: "none"}}, Count: 37,
			Where: &fact.Where{File: "db1.pcap", Stream: 0, Frame: 2},
		}, fact.Finding{
			Schema: fact.Schema, ID: "forged-1", Time: forged.Frames[7].Time, Source: "capture", Flow: flowOf(forged), Outcome: "reset", Phase: "established", Harmful: true,
			Sender: fact.Sender{Role: fact.Injector, Grade: fact.Proved, Score: 0.994, Where: "between client.pcapng and server.pcapng", Says: "The RST was seen at the client and never left the server."},
			Cause:  fact.CauseVerdict{ID: "forged-rst-attack", Title: "Somebody on the way forged the reset", Class: "malicious-activity", Grade: fact.Proved, Score: 0.981, Says: "Somebody between the two points of capture sent a reset in the name of the server."},
			Proof:  []fact.Proof{{Says: "seen at the client, missing at the server", Witness: "two-ended", Weight: 30, File: "client.pcapng", Frame: 8}},
			Effect: fact.Effect{Accepted: "accepted", AppError: "ECONNRESET"}, Where: &fact.Where{File: "client.pcapng", Stream: 0, Frame: 8},
		}, fact.Finding{
			Schema: fact.Schema, ID: "tls-1", Time: alert.Frames[5].Time, Source: "capture", Flow: flowOf(alert), Outcome: "reset", Phase: "tls-handshake", Harmful: true,
			Sender: fact.Sender{Role: fact.ServerApp, Grade: fact.Probable, Score: 0.91},
			Cause:  fact.CauseVerdict{ID: "tls-handshake-failure", Title: "The TLS handshake failed", Grade: fact.Probable, Score: 0.97, Says: "The server does not speak the TLS version that the client offers and said so in an alert before it closed."},
			Proof:  []fact.Proof{{Says: "TLS alert protocol_version 0.1 ms before the RST", Witness: "wire", Weight: 27, File: "edge.pcapng", Frame: 44}},
			Effect: fact.Effect{Accepted: "accepted", AppError: "ECONNRESET", BytesUnread: new(int64(0))},
		}, fact.Finding{
			Schema: fact.Schema, ID: "tls-2", Story: "tls-1", Time: alert.Frames[5].Time.Add(3 * time.Second), Source: "capture", Flow: fact.FindingFlow{Client: netip.MustParseAddrPort("10.20.4.18:33446"), Server: alert.Server}, Outcome: "reset", Phase: "tls-handshake", Harmful: true,
			Sender: fact.Sender{Role: fact.ServerApp, Grade: fact.Possible, Score: 0.6},
			Cause:  fact.CauseVerdict{ID: "unknown", Title: "Unknown", Grade: fact.Unknown},
		}, fact.Finding{
			Schema: fact.Schema, ID: "health-1", Time: at(30), Source: "capture", Flow: fact.FindingFlow{Client: netip.MustParseAddrPort("10.20.0.2:60100"), Server: netip.MustParseAddrPort("10.20.4.17:8080")}, Outcome: "benign", Phase: "closing",
			Sender: fact.Sender{Role: fact.ClientKernel, Grade: fact.Probable, Score: 0.93},
			Cause:  fact.CauseVerdict{ID: "lb-health-check-noise", Title: "A health check that ends its connections with a reset", Class: "benign", Grade: fact.Probable, Score: 0.95, Says: "A load balancer checks the port every 5 s and saves itself the closing handshake."},
			Count:  118,
		},
	)
	return list
}

func sampleReport() *Report {
	r := &Report{
		Made: at(3600), Version: "0.9.0",
		Inputs: []Input{
			{Name: "edge.pcapng", LinkTypes: []string{"Ethernet", "Linux cooked v2"}, Packets: 88_120, TCPPackets: 87_002, Connections: 1204, Resets: 134, Bytes: 61_234_567, First: at(0), Last: at(900), Rate: 1_240_000, Warnings: []string{"damaged at offset 61,230,004: read on at the next block", "17 packets dropped by the capture itself"}},
			{Name: "db1.pcap", LinkTypes: []string{"Ethernet"}, Packets: 74, TCPPackets: 74, Connections: 37, Resets: 37, Bytes: 4440, First: at(60), Last: at(64)},
		},
		Stories: Stories(storySamples()),
	}
	for i := range r.Stories {
		switch s := &r.Stories[i]; s.Findings[0].Cause.ID {
		case "middlebox-idle-timeout":
			s.Ladder = idleLadder()
		case "connection-refused-closed-port":
			s.Ladder = refusedLadder()
		case "forged-rst-attack":
			s.Ladder = forgedLadder()
		case "tls-handshake-failure":
			s.Ladder = tlsLadder()
		}
	}
	return r
}

// hostileLadder holds what packets can hold.
func hostileLadder() *fact.Ladder {
	l := idleLadder()
	l.Points = []string{"a\x1b[2J", "b\u202etxt.exe", "東京の捕捉地点", "</svg><script>alert(1)</script>"}
	for i := range l.Frames {
		l.Frames[i].Point = i%9 - 2
		l.Frames[i].Info = "GET /<script>alert(1)</script>\r\n\x1b]0;pwned\a \u202eevil 東京東京東京東京東京東京東京東京東京東京 e\u0301 \xff"
		l.Frames[i].Note = `"><img src=x onerror=alert(1)> --> ]]> &amp; {{.}}` + "\u2066"
		l.Frames[i].Flags = "<b>\x1b"
		l.Frames[i].Kind = []fact.FrameKind{"", fact.FrameReset, fact.FrameICMPError, fact.FrameLost, "<i>"}[i%5]
	}
	l.Frames[3].Time = at(-5)
	l.Frames[4].Number, l.Frames[4].Seq, l.Frames[4].Skipped = 1<<62, -1<<62, 1<<62
	return l
}
