//! The growth of a log as a plot: in letters for a terminal, as SVG for a page.

use jiff::Timestamp;

/// Columns of the plot in letters.
const COLUMNS: usize = 60;
/// Its rows, of eight steps each.
const ROWS: usize = 6;
const STEPS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Time and size of the first and of the last head; none where nothing has grown or no time has
/// passed.
struct Frame {
    from: (f64, f64),
    to: (f64, f64),
}

impl Frame {
    fn of(growth: &[(Timestamp, u64)]) -> Option<Frame> {
        let (from, to) = (at(growth.first()?), at(growth.last()?));
        (to.0 > from.0 && to.1 > from.1).then_some(Frame { from, to })
    }

    /// Where a head is, each from 0 to 1.
    fn place(&self, (time, size): (f64, f64)) -> (f64, f64) {
        let Frame { from, to } = self;
        ((time - from.0) / (to.0 - from.0), (size - from.1) / (to.1 - from.1))
    }
}

fn at(point: &(Timestamp, u64)) -> (f64, f64) {
    (point.0.as_millisecond() as f64, point.1 as f64)
}

/// The plot in letters, a line each.
pub(super) fn text(growth: &[(Timestamp, u64)]) -> Option<String> {
    let frame = Frame::of(growth)?;
    // The size at the right end of each column: that of the newest head until then.
    let mut heights = [0.0; COLUMNS];
    for point in growth {
        let (x, y) = frame.place(at(point));
        let column = ((x * COLUMNS as f64).ceil() as usize).clamp(1, COLUMNS) - 1;
        heights[column..].fill(y);
    }
    let (low, high) = (growth.first()?.1, growth.last()?.1);
    let label = high.to_string().len().max(low.to_string().len());
    let mut text = String::new();
    for row in (0..ROWS).rev() {
        let name = match row {
            0 => low.to_string(),
            row if row == ROWS - 1 => high.to_string(),
            _ => String::new(),
        };
        let bar = |height: &f64| {
            let steps = (height * (ROWS * 8 - 1) as f64).round() as usize + 1;
            STEPS[steps.saturating_sub(row * 8).min(8)]
        };
        let bars: String = heights.iter().map(bar).collect();
        text += &format!("  {name:>label$} ┤{bars}\n");
    }
    let (first, last) = (day(&growth.first()?.0), day(&growth.last()?.0));
    text += &format!("  {:label$}  {first}{last:>rest$}\n", "", rest = COLUMNS - first.len());
    Some(text)
}

fn day(time: &Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
}

/// The plot as SVG; without growth there is only its title.
pub(super) fn svg(log: &str, growth: &[(Timestamp, u64)]) -> String {
    const WIDTH: f64 = 720.0;
    const HEIGHT: f64 = 360.0;
    let (left, right, top, bottom) = (90.0, WIDTH - 20.0, 40.0, HEIGHT - 40.0);
    let escaped = log.replace('&', "&amp;").replace('<', "&lt;");
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"24\" font-size=\"15\">{escaped}: records</text>\n"
    );
    if let (Some(frame), Some(first), Some(last)) = (Frame::of(growth), growth.first(), growth.last()) {
        let place = |point| {
            let (x, y) = frame.place(at(point));
            (left + x * (right - left), bottom - y * (bottom - top))
        };
        let mut line = String::new();
        for (n, point) in growth.iter().enumerate() {
            let (x, y) = place(point);
            line += &format!("{}{x:.1},{y:.1}", if n == 0 { "M" } else { " L" });
        }
        svg += &format!(
            "<path d=\"M{left},{top} V{bottom} H{right}\" fill=\"none\" stroke=\"#888\"/>\n\
             <path d=\"{line}\" fill=\"none\" stroke=\"#2563eb\" stroke-width=\"2\"/>\n"
        );
        let text = |x: f64, y: f64, anchor: &str, text: &str| {
            format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>\n")
        };
        svg += &text(left - 6.0, bottom, "end", &first.1.to_string());
        svg += &text(left - 6.0, top + 4.0, "end", &last.1.to_string());
        svg += &text(left, bottom + 20.0, "start", &day(&first.0));
        svg += &text(right, bottom + 20.0, "end", &day(&last.0));
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(points: &[(i64, u64)]) -> Vec<(Timestamp, u64)> {
        points.iter().map(|(hour, size)| (Timestamp::from_second(hour * 3600).unwrap(), *size)).collect()
    }

    #[test]
    fn a_plot_goes_from_the_first_head_to_the_last() {
        let drawn = text(&growth(&[(0, 100), (30, 100), (60, 580)])).unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), ROWS + 1);
        assert_eq!(lines[0], format!("  580 ┤{}█", " ".repeat(COLUMNS - 1)));
        assert_eq!(lines[ROWS - 1], format!("  100 ┤{}█", "▁".repeat(COLUMNS - 1)));
        assert!(lines[ROWS].ends_with("1970-01-03 12:00"), "{drawn}");
        for nothing in [&[][..], &[(0, 5)], &[(0, 5), (9, 5)], &[(3, 5), (3, 9)]] {
            assert_eq!(text(&growth(nothing)), None);
            assert!(svg("a<b", &growth(nothing)).contains("a&lt;b"));
        }
        let drawn = svg("log", &growth(&[(0, 100), (30, 340), (60, 580)]));
        assert!(drawn.contains("d=\"M90.0,320.0 L395.0,180.0 L700.0,40.0\""), "{drawn}");
    }
}
