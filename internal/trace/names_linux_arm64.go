package trace

var archSyscalls = map[int32]string{}
