# Draws long_sequences.svg from the record in README.md: gnuplot tests/bench/long_sequences.gnuplot
# tokens of a sequence, tokens a second, GiB; one H200, 1.4 B parameters, bf16
$none << END
2048 67849 87.4
8192 67525 87.5
32768 66193 87.5
END
$selective << END
2048 66316 107.4
65536 64574 107.5
END
$segment << END
65536 58460 87.7
262144 53390 88.2
1048576 51972 138.0
END
$compiled << END
2048 62079
8192 50033
END
$eager << END
2048 53564
8192 44259
32768 27003
END
set terminal svg size 760,420 font "sans-serif,13" background "white"
set output "tests/bench/long_sequences.svg"
set logscale x 2
set xrange [1448:1500000]
set xtics ("2k" 2048, "8k" 8192, "32k" 32768, "64k" 65536, "256k" 262144, "1M" 1048576)
set yrange [0:80000]
set ytics 20000 format "%'.0f" nomirror
set y2range [0:160]
set y2tics 40
set grid ytics lc rgb "#dddddd"
set xlabel "tokens of a sequence"
set ylabel "tokens/s"
set y2label "memory, GiB (dashed)"
set bmargin 7
set key at screen 0.5, 0.02 center bottom horizontal maxrows 3
plot $none using 1:2 with linespoints lw 2 pt 7 lc rgb "#1b6ca8" title "RetNet, recompute none", \
  $selective using 1:2 with linespoints lw 2 pt 7 lc rgb "#2a9d3a" title "selective", \
  $segment using 1:2 with linespoints lw 2 pt 7 lc rgb "#c44e1f" title "segment", \
  $compiled using 1:2 with linespoints lw 2 pt 6 lc rgb "#555555" title "Transformer, compiled", \
  $eager using 1:2 with linespoints lw 2 pt 4 lc rgb "#999999" title "Transformer, eager", \
  $none using 1:3 axes x1y2 with lines dt 2 lc rgb "#1b6ca8" notitle, \
  $selective using 1:3 axes x1y2 with lines dt 2 lc rgb "#2a9d3a" notitle, \
  $segment using 1:3 axes x1y2 with lines dt 2 lc rgb "#c44e1f" notitle
