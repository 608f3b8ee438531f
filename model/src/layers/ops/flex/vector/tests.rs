use super::*;

fn number(i: usize) -> f32 {
    ((i * 7919) % 23) as f32 - 11.0
}

fn numbers(count: usize, from: usize) -> Vec<f32> {
    (0..count).map(|i| number(i + from)).collect()
}

/// Whole numbers: no order of additions rounds, and all types hold them.
fn check<N: Number>(store: impl Fn(f32) -> N) {
    const ROWS: usize = 2;
    const LINES: usize = 4;
    for registers in Registers::all() {
        for depth in [0, 1, 7, 16, 83, 128] {
            let stride = depth + 3;
            let rows = numbers(ROWS * stride, 0);
            let lines = numbers(LINES * stride, 5);
            let stored: Vec<N> = lines.iter().map(|&number| store(number)).collect();
            let of = |first: *const f32| Lines { first, stride };
            let held = Lines {
                first: stored.as_ptr(),
                stride,
            };
            // SAFETY: the vectors have so many rows and lines of more than `depth` numbers, and the processor
            // has the registers.
            let found =
                unsafe { products::<N, ROWS, LINES>(registers, of(rows.as_ptr()), held, depth) };
            for (row, found) in found.iter().enumerate() {
                for (line, found) in found.iter().enumerate() {
                    let x = &rows[row * stride..][..depth];
                    let w = &lines[line * stride..][..depth];
                    let expected: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                    assert_eq!(*found, expected, "{registers:?}, depth {depth}");
                }
            }
            let mut sums = vec![0.5; ROWS * stride];
            // SAFETY: as above; the rows have more than `LINES` weights.
            unsafe {
                weighted_sums::<N, ROWS>(
                    registers,
                    of(rows.as_ptr()),
                    held,
                    [LINES.min(stride), depth],
                    sums.as_mut_ptr(),
                    stride,
                );
            }
            for (row, sums) in sums.chunks(stride).enumerate() {
                for (at, &found) in sums.iter().enumerate() {
                    let weights = &rows[row * stride..];
                    let terms = (0..LINES.min(stride)).map(|i| weights[i] * lines[i * stride + at]);
                    let expected: f32 = if at < depth { terms.sum() } else { 0.5 };
                    assert_eq!(found, expected, "{registers:?}, width {depth}");
                }
            }
        }
    }
}

#[test]
fn each_kind_of_registers_computes_the_same_of_each_type() {
    check(|number| number);
    check(f16::from_f32);
    check(bf16::from_f32);
}

/// What each kind of registers rounds is what is rounded number by number.
fn check_nearest<N: Number + PartialEq + std::fmt::Debug>(bits: impl Fn(N) -> u16) {
    let special = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        -f32::NAN,
    ];
    let numbers = (0..5_000).map(|i| {
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        sign * (1.0 + (i * 7919 % 4096) as f32 / 4096.0) * 2.0f32.powi(i % 48 - 28)
    });
    let numbers: Vec<f32> = special.into_iter().chain(numbers).collect();
    let expected: Vec<u16> = numbers.iter().map(|&n| bits(N::nearest(n))).collect();
    for registers in Registers::all() {
        let mut found = vec![N::nearest(0.5); numbers.len()];
        // SAFETY: both are as long; the processor has the registers.
        unsafe { narrow(registers, numbers.as_ptr(), found.as_mut_ptr(), found.len()) };
        let found: Vec<u16> = found.into_iter().map(&bits).collect();
        assert_eq!(found, expected, "{registers:?}");
    }
}

#[test]
fn each_kind_of_registers_rounds_alike() {
    check_nearest::<f16>(f16::to_bits);
    check_nearest::<bf16>(bf16::to_bits);
}

#[test]
fn what_is_not_finite_stays_so() {
    let lines = [
        f16::INFINITY,
        f16::NAN,
        f16::MIN_POSITIVE,
        f16::from_bits(1),
    ]
    .map(|n| [n; 16]);
    let ones = [1.0; 16];
    for registers in Registers::all() {
        let rows = Lines {
            first: ones.as_ptr(),
            stride: 0,
        };
        let lines = Lines {
            first: lines.as_ptr().cast::<f16>(),
            stride: 16,
        };
        // SAFETY: four lines of 16 numbers; the processor has the registers.
        let [[infinite, nan, normal, least]] =
            unsafe { products::<_, 1, 4>(registers, rows, lines, 16) };
        assert_eq!(infinite, f32::INFINITY);
        assert!(nan.is_nan());
        assert_eq!(normal, 16.0 * f16::MIN_POSITIVE.to_f32());
        assert_eq!(least, 16.0 * f16::from_bits(1).to_f32());
    }
}
