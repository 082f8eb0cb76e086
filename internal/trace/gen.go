package trace

// The objects are committed for amd64 and arm64, so that users need no clang.
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -no-global-types -go-package trace -cflags "-O2 -g -Wall -Werror -Wno-visibility -Wno-missing-declarations" -type event -type close_record -type open_record -type counter -type flood_key -type flood_value -type wire_key -type killer -type exit_record -type task_record reset bpf/reset.bpf.c
