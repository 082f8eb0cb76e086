// Package diagnosis is the engine: a case and a knowledge base go in, a finding
// comes out. It is pure: no I/O, no clock, no goroutine, no global state.
//
// A knowledge base is compiled once with [Compile] from specifications that
// package knowledge reads from YAML; the resulting [Base] may be used by many
// goroutines. [Base.Explain] then works in two stages.
//
// # Arithmetic
//
// Everything is log-odds in decibans (10 log10 of a likelihood ratio). A
// hypothesis starts at its prior (very-common +5, common 0, rare -7). A line of
// evidence weighs proof (30), strong (20), hint (10) or faint (5) when its
// expression is true. When it is false it speaks against: by how much follows
// from in how many of ten such cases it is seen, or is said in words
// (otherwise). When it is unknown it says nothing.
//
// Nothing counts twice. What one witness says in favour of a hypothesis is
// capped at +30 together. Facts that say the same form a group, and a group
// counts once, with its heaviest line; a line that is false counts only when no
// other line of its group is true. A line is about the facts that its
// hypothesis does not require anyway.
//
// A requirement must be true: when it is false the hypothesis is out, whatever
// its weights; when nobody looked it is at most probable. A contradiction must
// not be true: when it is, the hypothesis is out; when nobody looked, the
// finding names it as not checked, and when it must be checked the hypothesis
// is at most probable. A definite answer never changes when more becomes known.
//
// Only hypotheses with at least one true line of positive weight claim
// anything. The others are part of "none of these", which competes at +12, so
// that a prior alone, or one weak hint, never becomes a verdict.
//
// Stage one does this for the roles of the sender; "none of these" is then the
// role unknown, whose probability is shared equally by the roles that are not
// out when causes are weighed. Stage two does it for the causes that the
// outcome allows; 10 log10 of the summed probability of a cause's senders is
// added to its score, so a cause of an impossible sender is out. Posteriors are
// normalised over the candidates plus "none of these". They are called scores:
// they order the candidates, and how often each grade is right is measured.
//
// A cause that excludes another one, because that one would only be its
// consequence, drops it when it would be proved against "none of these" alone,
// or when its own total is at least as high; ties go to the smaller id.
// Exclusion goes from the highest total downwards, and a dropped cause drops
// nobody. To exclude a general cause is to exclude its family, unless one of
// its members stands higher.
//
// A cause with `family: general` is a specialisation. It has the lines,
// requirements and contradictions of the general cause besides its own, and is
// a candidate only when at least one of its own positive lines is true; when no
// line of the general cause is true, it is at most possible. A family competes
// with others as one, with its best total, so that detail never costs score.
// Inside the family its members share that score by their own evidence (the
// general one standing at 0); a specialised member is shown instead of the
// general cause when its share is at least 0.8.
//
// # One verdict
//
// The sender that is named is the likeliest of those that can send the cause.
// Where the likeliest sender and a cause that is only possible contradict each
// other, the cause is not named. A verdict that is only possible never names a
// middlebox or an injector.
//
// # Grades
//
// Proved: score >= 0.95, a true line of at least a hint from a kernel, peer or
// probe witness, every requirement true (not merely unknown), every
// contradiction that must be checked checked, the outcome looked at, and, for a
// cause, senders that hold at least 0.8 together. Probable: >= 0.8. Possible:
// >= 0.3. Below, the verdict is unknown. A cause whose senders are less likely
// than the other roles is at most possible.
package diagnosis
