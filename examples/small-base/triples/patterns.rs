//! Sentences of the reports, and the triples that each holds.
//!
//! `{a}`, `{b}` are parts with the faults `{f}`, `{g}`; `{s}` is a system, `{t}` a tool; `{p}` behaves `{q}`.

/// A sentence and its triples.
pub type Pattern = (&'static str, &'static [&'static str]);

const A_F: &str = "{a}_部件故障_{f}";
const B_G: &str = "{b}_部件故障_{g}";
const P_Q: &str = "{p}_性能故障_{q}";
const A_T: &str = "{a}_检测工具_{t}";
const S_A: &str = "{s}_组成_{a}";
const S_B: &str = "{s}_组成_{b}";

/// Sentences of the training.
pub const TRAIN: [Pattern; 30] = [
    ("故障现象：{a}{f}。", &[A_F]),
    ("检查发现{a}{f}，更换后正常。", &[A_F]),
    ("经检测，{a}存在{f}的情况。", &[A_F]),
    ("拆下{a}，可见{f}。", &[A_F]),
    ("试车时{a}有{f}现象。", &[A_F]),
    ("{a}出现{f}，{b}{g}。", &[A_F, B_G]),
    ("故障原因：{a}{f}，造成{b}{g}。", &[A_F, B_G]),
    ("{a}{f}，而且{b}也有{g}现象。", &[A_F, B_G]),
    ("先后发现{a}{f}和{b}{g}。", &[A_F, B_G]),
    ("用{t}测量{a}，发现{f}。", &[A_T, A_F]),
    ("将{t}接到{a}上，显示{f}。", &[A_T, A_F]),
    ("使用{t}检查{a}，结果正常。", &[A_T]),
    ("接上{t}读取{a}的数据。", &[A_T]),
    ("{a}可以用{t}检测。", &[A_T]),
    ("{s}由{a}和{b}组成。", &[S_A, S_B]),
    ("{s}包括{a}、{b}等。", &[S_A, S_B]),
    ("{a}是{s}的一部分。", &[S_A]),
    ("{s}里有{a}。", &[S_A]),
    ("{s}中的{a}{f}。", &[S_A, A_F]),
    ("检修{s}，{a}出现{f}。", &[S_A, A_F]),
    ("客户反映{p}{q}。", &[P_Q]),
    ("行驶中{p}{q}，没有其他问题。", &[P_Q]),
    ("车辆{p}{q}，原因是{a}{f}。", &[P_Q, A_F]),
    ("由于{a}{f}，导致{p}{q}。", &[A_F, P_Q]),
    ("{p}{q}，同时{a}{f}。", &[P_Q, A_F]),
    ("车主说{p}{q}，经查是{a}存在{f}。", &[P_Q, A_F]),
    ("用{t}检测{a}后，{p}仍然{q}。", &[A_T, P_Q]),
    ("{p}{q}时，使用{t}测量{a}。", &[P_Q, A_T]),
    ("打开{s}，用{t}检查{a}，发现{f}。", &[S_A, A_T, A_F]),
    ("{s}的{a}{f}，{p}{q}。", &[S_A, A_F, P_Q]),
];

/// Sentences of the test.
pub const TEST: [Pattern; 14] = [
    ("维修人员发现{a}出现{f}。", &[A_F]),
    ("拆检后可见{a}有{f}现象。", &[A_F]),
    ("原因是{a}{f}，更换新件。", &[A_F]),
    ("由于{a}存在{f}，造成{b}{g}。", &[A_F, B_G]),
    ("{a}{f}，同时{b}出现{g}。", &[A_F, B_G]),
    ("使用{t}测量{a}，结果显示{f}。", &[A_T, A_F]),
    ("检查{a}时接上{t}。", &[A_T]),
    ("经查，{s}由{a}、{b}组成。", &[S_A, S_B]),
    ("检修{s}时发现{a}{f}。", &[S_A, A_F]),
    ("故障现象：行驶中{p}{q}。", &[P_Q]),
    ("客户反映{p}{q}，检查发现{a}{f}。", &[P_Q, A_F]),
    ("因为{a}有{f}现象，导致车辆{p}{q}。", &[A_F, P_Q]),
    ("{p}{q}，用{t}检测{a}。", &[P_Q, A_T]),
    ("{s}的{a}存在{f}，车主说{p}{q}。", &[S_A, A_F, P_Q]),
];
