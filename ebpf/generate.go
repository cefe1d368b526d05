package ebpf

// The objects are made by Debian 12's clang 14 and committed, so that nobody
// needs a compiler for them; TestGenerated makes them again where there is one.
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter" -target bpfel -go-package ebpf -output-stem translate -type config -type mapping -type counters translate bpf/translate.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter" -target bpfel -go-package ebpf -output-stem shortcut -type key -type route -type interface -type counter -type verdict shortcut bpf/shortcut.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter" -target bpfel -go-package ebpf -output-suffix _test -output-stem variant_trie -type trie_key variantTrie bpf/variant_trie.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter" -target bpfel -go-package ebpf -output-suffix _test -output-stem variant_kernel variantKernel bpf/variant_kernel.c
