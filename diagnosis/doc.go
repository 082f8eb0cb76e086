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
// hypothesis starts at its prior (very-common +5, common 0, rare -7); a line of
// evidence adds its weight when its expression is true, its `unless` weight when
// it is false, nothing when it is unknown. What one witness says in favour of a
// hypothesis is capped at +30 together; what it says against is not capped.
// A requirement that is false is a veto: the hypothesis is out, whatever its
// weights. A requirement that nobody looked at does not veto, but such a
// hypothesis is never proved: what might still veto it was not checked.
//
// Only hypotheses with at least one true line of positive weight claim
// anything. The others are part of "none of these", which competes at +12, so
// that a prior alone, or one weak hint, never becomes a verdict.
//
// Stage one does this for the roles of the sender; "none of these" is then the
// role unknown, whose probability is shared equally by the roles that are not
// vetoed when causes are weighed. Stage two does it for the causes that the
// outcome allows; 10 log10 of the summed probability of a cause's senders is
// added to its score, so a cause of an impossible sender is out. Posteriors are
// normalised over the candidates plus "none of these".
//
// A cause that excludes another one (because that one would only be its
// consequence) drops it when its own total is at least as high; ties go to the
// smaller id. Exclusion goes from the highest total downwards, and a dropped
// cause drops nobody. To exclude a general cause is to exclude its family, as
// one: it goes when its best member is not above the excluding cause.
//
// A cause with `family: general` is a specialisation. It has the lines and
// requirements of the general cause besides its own, and is a candidate only
// when at least one of its own positive lines is true. A family competes with
// others as one, with its best total, so that detail never costs posterior.
// Inside the family its members share that posterior by their own evidence (the
// general one standing at 0); a specialised member is shown instead of the
// general cause when its share is at least 0.8.
//
// # Grades
//
// Proved: posterior >= 0.95, at least +10 counted from kernel, peer or probe
// witnesses, every requirement true (not merely unknown), the outcome looked
// at, and, for a cause, senders that hold at least 0.8 together. Probable:
// >= 0.8. Possible: >= 0.3. Below, the verdict is unknown. A cause whose
// senders are less likely than the other roles is at most possible.
package diagnosis
