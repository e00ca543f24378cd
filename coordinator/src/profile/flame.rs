//! A profile as a flame graph (Gregg: The Flame Graph, CACM 59/6, 2016): a box for each function above the one that called it, as
//! wide as its share of all samples. Names are shown where they fit, and in full under the pointer.

use std::{collections::BTreeMap, fmt::Write as _};

use super::Profile;

/// Pixels.
const WIDTH: f64 = 1_200.0;
const ROW: f64 = 17.0;
/// A letter of the small font.
const LETTER: f64 = 6.6;
/// Boxes narrower than this are left out: nobody sees them.
const NARROWEST: f64 = 0.3;

/// A function in its place, with all that it called.
#[derive(Default)]
struct Node<'a> {
    samples: u64,
    called: BTreeMap<&'a str, Node<'a>>,
}

/// The picture.
pub fn write(profile: &Profile) -> String {
    let mut root = Node::default();
    for (stack, samples) in &profile.stacks {
        let mut node = &mut root;
        node.samples += samples;
        for name in stack {
            node = node.called.entry(name).or_default();
            node.samples += samples;
        }
    }
    let height = ROW * (depth(&root) + 1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"monospace\" \
         font-size=\"11\">\n"
    );
    let words = format!("all: {} samples in {:?}", root.samples, profile.lasted);
    draw(&mut svg, (&words, &root), (0.0, WIDTH), height - ROW);
    svg.push_str("</svg>\n");
    svg
}

fn depth(node: &Node<'_>) -> usize {
    node.called.values().map(|called| depth(called) + 1).max().unwrap_or_default()
}

fn draw(svg: &mut String, (name, node): (&str, &Node<'_>), (left, width): (f64, f64), top: f64) {
    if width < NARROWEST {
        return;
    }
    let fits = (width / LETTER) as usize;
    let shown: String = if fits < 3 { String::new() } else { name.chars().take(fits).collect() };
    let share = 100.0 * width / WIDTH;
    // Writing into a string cannot fail. The colour is by name, so that a function looks the same everywhere.
    let _ = writeln!(
        svg,
        "<g><title>{} ({} samples, {share:.1} %)</title><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\" \
         fill=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
        escaped(name),
        node.samples,
        ROW - 1.0,
        colour(name),
        left + 2.0,
        top + 12.0,
        escaped(&shown),
    );
    let mut left = left;
    for (name, called) in &node.called {
        let share = width * called.samples as f64 / node.samples.max(1) as f64;
        draw(svg, (name, called), (left, share), top - ROW);
        left += share;
    }
}

fn colour(name: &str) -> String {
    let hash = name.bytes().fold(5_381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    format!("hsl({},70%,70%)", hash % 60)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_as_wide_as_its_share_and_names_do_no_harm() {
        let svg = write(&super::super::tests::example());
        assert!(svg.contains("a&lt;b&gt; (3 samples, 75.0 %)"), "{svg}");
        assert!(svg.contains("all: 4 samples") && svg.contains("run (4 samples, 100.0 %)"), "{svg}");
        assert!(!svg.contains("a<b>"), "{svg}");
    }
}
