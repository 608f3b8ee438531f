//! Names of parts, systems, faults and tools: those of the training, and those of the test.

use std::ops::RangeInclusive;

use rand::Rng;

use crate::draw::{Draw, Random};

/// What names are made of.
pub struct Names {
    /// What stands before a part, beside invented names and codes.
    modifiers: &'static [&'static str],
    /// Kinds of parts.
    parts: &'static [&'static str],
    /// What stands before a fault, or nothing.
    degrees: &'static [&'static str],
    /// Where a part is faulty.
    places: &'static [&'static str],
    /// Faults of parts.
    faults: &'static [&'static str],
    /// What a car does well or badly.
    performances: &'static [&'static str],
    /// How it does that.
    manners: &'static [&'static str],
    /// What stands before a system.
    fields: &'static [&'static str],
    /// Kinds of systems.
    systems: &'static [&'static str],
    /// Kinds of tools and what stands before them.
    tools: (&'static [&'static str], &'static [&'static str]),
}

/// Names of the training.
pub const TRAIN: Names = Names {
    modifiers: &[
        "左前",
        "右前",
        "左后",
        "进气",
        "排气",
        "冷却",
        "燃油",
        "转向",
        "离合",
        "点火",
        "真空",
        "液压",
        "曲轴",
        "水温",
        "车速",
        "空调",
        "节气",
        "怠速",
        "倒车",
        "主",
        "副",
        "前",
        "一号",
        "二号",
        "高压",
        "变速箱",
        "发动机",
        "蓄电池",
        "车身",
        "尾门",
    ],
    parts: &[
        "传感器",
        "泵",
        "阀",
        "灯",
        "开关",
        "电机",
        "管",
        "继电器",
        "线束",
        "轴承",
        "压缩机",
        "油封",
        "皮带",
        "模块",
        "电磁阀",
        "保险丝",
        "风扇",
        "插头",
        "轴",
        "盖",
    ],
    degrees: &["", "", "", "严重", "轻微", "偶尔", "突然", "明显"],
    places: &[
        "触点",
        "接头",
        "内部",
        "表面",
        "线圈",
        "密封圈",
        "外壳",
        "叶片",
        "端子",
        "底座",
    ],
    faults: &[
        "漏油",
        "异响",
        "短路",
        "磨损",
        "老化",
        "松动",
        "不亮",
        "不工作",
        "卡滞",
        "发热",
        "损坏",
        "断裂",
        "积碳",
        "电压过低",
        "温度过高",
        "信号失真",
        "堵塞",
        "进水",
        "接触不良",
        "脱落",
    ],
    performances: &[
        "油耗",
        "车速",
        "怠速",
        "动力",
        "加速性能",
        "制动性能",
        "噪声",
        "油压",
        "水温",
    ],
    manners: &[
        "过高", "不稳", "不足", "下降", "变差", "过大", "偏低", "异常",
    ],
    fields: &[
        "燃油", "冷却", "点火", "进气", "转向", "空调", "充电", "润滑", "启动",
    ],
    systems: &["系统", "装置", "总成", "回路"],
    tools: (
        &["数字", "专用", "手持", "电子", "红外", "便携"],
        &[
            "万用表",
            "诊断仪",
            "压力表",
            "示波器",
            "测试灯",
            "检漏仪",
            "温度计",
        ],
    ),
};

/// Names of the test: none of their first parts occurs in the training.
pub const TEST: Names = Names {
    modifiers: &[
        "右后",
        "机油",
        "助力",
        "凸轮轴",
        "爆震",
        "轮速",
        "雨刮",
        "防盗",
        "座椅",
        "天窗",
        "三号",
        "低压",
        "差速器",
        "氮氧",
        "门锁",
        "喷油",
        "悬架",
        "增压",
    ],
    parts: &[
        "传感器",
        "泵",
        "阀",
        "灯",
        "开关",
        "电机",
        "管",
        "继电器",
        "线束",
        "轴承",
        "模块",
        "电磁阀",
        "插头",
        "滤清器",
        "喷嘴",
        "拉线",
        "控制器",
        "齿条",
    ],
    degrees: &["", "", "", "多处", "间歇", "轻度"],
    places: &["弹簧", "管口", "铁芯", "边缘", "支架", "引脚", "膜片"],
    faults: &[
        "渗油",
        "抖动",
        "断路",
        "烧蚀",
        "锈蚀",
        "变形",
        "失效",
        "打滑",
        "开裂",
        "电流过大",
        "压力不足",
        "阻值超标",
        "粘连",
        "虚焊",
        "密封不严",
    ],
    performances: &[
        "爬坡能力",
        "最高车速",
        "排放",
        "转速",
        "机油压力",
        "续航",
        "尾气",
    ],
    manners: &["超标", "波动", "偏高", "降低", "不佳", "忽高忽低"],
    fields: &["制动", "悬架", "照明", "增压", "巡航", "防盗", "雨刮"],
    systems: &["系统", "装置", "总成", "机构"],
    tools: (
        &["指针式", "进口", "多功能", "激光", "简易"],
        &[
            "万用表",
            "诊断仪",
            "压力表",
            "示波器",
            "听诊器",
            "扫描仪",
            "真空计",
        ],
    ),
};

impl Names {
    /// A name for every slot, no two parts and no two faults the same.
    pub fn draw(&self, draw: &Draw, random: &mut Random) -> [(&'static str, String); 8] {
        let modifiers = draw.some(random, self.modifiers, 2);
        let faults = draw.some(random, self.faults, 2);
        [
            ("{a}", self.named(modifiers[0], self.parts, draw, random)),
            ("{b}", self.named(modifiers[1], self.parts, draw, random)),
            ("{f}", self.fault(faults[0], draw, random)),
            ("{g}", self.fault(faults[1], draw, random)),
            ("{p}", self.performance(draw, random)),
            ("{q}", self.manner(draw, random)),
            (
                "{s}",
                self.named(draw.one(random, self.fields), self.systems, draw, random),
            ),
            (
                "{t}",
                self.named(draw.one(random, self.tools.0), self.tools.1, draw, random),
            ),
        ]
    }

    /// A kind of thing under a name: a word, an invented name, or a code as manufacturers give them. One in four is
    /// invented as a whole: what a name looks like shall not tell where it ends.
    fn named(&self, word: &str, kinds: &[&str], draw: &Draw, random: &mut Random) -> String {
        let name = match random.random_range(0..8) {
            0 | 1 => return invented(3..=5, draw, random),
            2 => draw.code(random, 1) + &random.random_range(1..100).to_string(),
            3 | 4 => draw.chinese(random, 2),
            5 => draw.chinese(random, 1) + word,
            _ => word.to_string(),
        };
        name + draw.one(random, kinds)
    }

    fn performance(&self, draw: &Draw, random: &mut Random) -> String {
        match random.random_range(0..4) {
            0 => invented(3..=4, draw, random),
            1 => draw.chinese(random, 2) + "性能",
            _ => draw.one(random, self.performances).to_string(),
        }
    }

    fn manner(&self, draw: &Draw, random: &mut Random) -> String {
        match random.random_bool(0.5) {
            true => invented(2..=3, draw, random),
            false => draw.one(random, self.manners).to_string(),
        }
    }

    fn fault(&self, fault: &str, draw: &Draw, random: &mut Random) -> String {
        let before = match random.random_range(0..8) {
            0 | 1 => return invented(2..=4, draw, random),
            2 | 3 => draw.one(random, self.places).to_string(),
            4 => draw.chinese(random, 2),
            _ => draw.one(random, self.degrees).to_string(),
        };
        before + fault
    }
}

fn invented(length: RangeInclusive<usize>, draw: &Draw, random: &mut Random) -> String {
    let length = random.random_range(length);
    draw.chinese(random, length)
}
