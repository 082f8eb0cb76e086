package resettest

// staticTable is the static table of RFC 7541 Appendix A, from
// index 1: a name, then its value after an equals sign where it has one.
const staticTable = "" +
	":authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|" +
	":status=200|:status=204|:status=206|:status=304|:status=400|:status=404|:status=500|accept-charset|" +
	"accept-encoding=gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|" +
	"allow|authorization|cache-control|content-disposition|content-encoding|content-language|" +
	"content-length|content-location|content-range|content-type|cookie|date|etag|expect|expires|from|" +
	"host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|" +
	"location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|" +
	"server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"

// huffmanLengths are the lengths in bits of the codes of the 256 octets (RFC 7541
// Appendix B), one letter each: a is 1, z is 26, then A is 27, B 28 and so on.
// The code is canonical, so the lengths are all there is to know.
const huffmanLengths = "" +
	"mwBBBBBBBxDBBDBBBBBBBBDBBBBBBBBBfjjlmfhkjjhkhfffeeefffffffghoflj" +
	"mfgggggggggggggggggggggghghmsmnfoefefefffeggfffefgfeefgggggoknmB" +
	"tvttvvvwvwwwwwxwxxvwxwwwwuvwvwwxvutvvwwuwvvxuvwwuuvuwvwwtvvvwvvw" +
	"zztsvwvyzzzAAzxysuzAAzAxuuzzBAAAtxtuvuuwvvyyxxzwzAzzAAAAABAAAAAz"
