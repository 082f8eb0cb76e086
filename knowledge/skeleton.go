package knowledge

import "strings"

// Skeleton returns a cause file for id that passes Lint and Test, to be edited.
func Skeleton(id string) string { return strings.ReplaceAll(skeleton, "ID", id) }

const skeleton = `# A cause of Holdfast. "holdfast facts" lists the facts, "holdfast causes lint DIR" and
# "holdfast causes test DIR" check this file. Put it into /etc/holdfast/knowledge.d/ID.yaml
id: ID
title: The proxy of team X closed the connection while data was still unread
class: software-bug        # server-overload network-congestion server-configuration software-bug
                           # client-side malicious-activity router-modem isp-throttling
outcome: [reset]           # reset refused timeout unreachable survived none
senders: [server-app]      # client-app client-kernel server-app server-kernel local-firewall middlebox injector none
frequency: common          # very-common common rare
requires:                  # must be true: a false one rules the cause out, an unknown one keeps it from being proved
  - sender.sock.unread_bytes > 0
contradicts:               # must not be true; what nobody looked at is named in the finding as not checked
  - sender.proc.exiting == true
  - {if: not (sender.proc.name == "team-x-proxy"), must_check: true} # without the answer never proved
excludes: [close-with-unread-data]  # causes that are only a consequence of this one
# family: general-cause    # instead, for a vendor's variety of a known cause: its lines and requirements hold too
evidence:                  # proof, strong, hint or faint; what one witness says is at most proof
  - if: sender.reason == "TCP_ABORT_ON_CLOSE"
    weight: strong
    seen: 9                # in how many of ten such cases it is true, so that its falsehood counts too
    says: the kernel of the {{.sender.role}} recorded {{.sender.reason}} with {{bytes .sender.sock.unread_bytes}} unread
  - if: sender.proc.name == "team-x-proxy"
    weight: proof
    otherwise: proof       # instead of seen: what it weighs against the cause when it is false
    says: the socket belonged to {{.sender.proc.name}} ({{.sender.proc.pid}})
says: |
  {{.sender.proc.name}} closed its socket while {{bytes .sender.sock.unread_bytes}} of the client's data were
  unread, so the kernel answered with a reset instead of an orderly end.
effect: "{{bytes .sender.sock.unread_bytes}} of the request were thrown away"
fixes:
  - title: The proxy of team X, let it drain for longer
    unit: team-x-proxy     # one of sysctl: {KEY: VALUE}, unit: NAME with set, edit: PRODUCT with lines and was, nft: {...},
    set: {TimeoutStopSec: 120}  # nic: DEVICE with features, ask: [commands] with undo; or none of them, which is advice
    risk: low              # none low medium high
symptoms:
  - uploads through the proxy of team X end in connection reset by peer
confirm: holdfast watch, and send a request body that is larger than the proxy accepts
prevent: Drain the request before the answer is closed
references:
  - RFC 9293 section 3.10.7
lab: "none: needs the proxy of team X"
look_alikes: []
cases:
  - name: the proxy closed with data unread
    facts: {outcome: reset, rst.seen: true, sender.seen: true, sender.watched: true, sender.role: server, sender.call: close,
            sender.reason: TCP_ABORT_ON_CLOSE, sender.sock.unread_bytes: 1000, sender.proc.name: team-x-proxy,
            sender.proc.pid: 4711, sender.sock.known: true, sender.sock.state: CLOSE, sender.proc.exiting: false}
    expect: {sender: server-app, cause: ID, grade: proved}
  - name: another program did
    facts: {outcome: reset, rst.seen: true, sender.seen: true, sender.watched: true, sender.role: server, sender.call: close,
            sender.reason: TCP_ABORT_ON_CLOSE, sender.sock.unread_bytes: 1000, sender.proc.name: nginx}
    not: ID
`
