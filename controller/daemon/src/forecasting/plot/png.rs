//! Plots as pixels, below each other in one image.
//!
//! Text is set in a font that is part of the program (ISO 8859-1, 6 x 13 pixels), so that an image needs none of the machine's
//! and is the same everywhere; what the font does not have is shown as a question mark.

use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point as At, Size};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X13;
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::text::{Alignment, Text};
use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, StrokeDash, Transform};

use super::{Anchor, Canvas, Colour, HEIGHT, Plot, Point, Stroke, WIDTH, draw};

/// Room for a plot's title and note.
const HEAD: f64 = 44.0;
/// Most plots of one image: each is 960 x 364 pixels of 4 bytes, so 56 MB.
const MAX_PLOTS: usize = 40;
const TITLE: Rgb888 = Rgb888::new(0x22, 0x22, 0x22);
const TEXT: Rgb888 = Rgb888::new(0x55, 0x55, 0x55);

/// The image.
///
/// # Errors
/// There is nothing to draw, or too much.
pub(in crate::forecasting) fn image(plots: &[Plot]) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(!plots.is_empty(), "there is nothing to draw");
    anyhow::ensure!(
        plots.len() <= MAX_PLOTS,
        "{} plots, at most {MAX_PLOTS} make one image; choose some with --column or --horizon, or write .html or .svg",
        plots.len()
    );
    let row = HEAD + HEIGHT;
    let height = row * plots.len() as f64;
    let mut pixels = Pixmap::new(WIDTH as u32, height as u32)
        .ok_or_else(|| anyhow::anyhow!("an image of {WIDTH} x {height} pixels cannot be made"))?;
    pixels.fill(Color::WHITE);
    let mut raster = Raster { pixels, top: 0.0 };
    for (place, plot) in plots.iter().enumerate() {
        raster.top = row * place as f64;
        raster.write((10.0, 20.0), Anchor::Start, TITLE, &plot.title);
        raster.write((10.0, 37.0), Anchor::Start, TEXT, &plot.note);
        raster.top += HEAD;
        draw(plot, &mut raster);
    }
    Ok(raster.pixels.encode_png()?)
}

struct Raster {
    pixels: Pixmap,
    /// Where the plot begins that is drawn.
    top: f64,
}

impl Raster {
    fn path(&self, points: &[Point]) -> PathBuilder {
        let mut path = PathBuilder::new();
        for (place, &(x, y)) in points.iter().enumerate() {
            let (x, y) = (x as f32, (self.top + y) as f32);
            if place == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
        }
        path
    }

    fn stroke(&mut self, path: &Path, colour: Colour, dash: Option<StrokeDash>) {
        let stroke = tiny_skia::Stroke { width: 1.2, dash, ..tiny_skia::Stroke::default() };
        self.pixels.stroke_path(path, &paint(colour), &stroke, Transform::identity(), None);
    }

    fn write(&mut self, (x, y): Point, anchor: Anchor, colour: Rgb888, text: &str) {
        let alignment = match anchor {
            Anchor::Start => Alignment::Left,
            Anchor::Middle => Alignment::Center,
            Anchor::End => Alignment::Right,
        };
        let at = At::new(x as i32, (self.top + y) as i32);
        let Ok(_) = Text::with_alignment(text, at, MonoTextStyle::new(&FONT_6X13, colour), alignment).draw(self);
    }
}

fn paint(colour: Colour) -> Paint<'static> {
    let [_, red, green, blue] = colour.to_be_bytes();
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

impl Canvas for Raster {
    fn area(&mut self, corners: &[Point], colour: Colour) {
        let mut path = self.path(corners);
        path.close();
        let Some(path) = path.finish() else { return };
        self.pixels.fill_path(&path, &paint(colour), FillRule::Winding, Transform::identity(), None);
    }

    fn line(&mut self, points: &[Point], colour: Colour, stroke: Stroke) {
        let Some(path) = self.path(points).finish() else { return };
        let dash = if stroke == Stroke::Dashed { StrokeDash::new(vec![5.0, 4.0], 0.0) } else { None };
        self.stroke(&path, colour, dash);
    }

    fn text(&mut self, at: Point, anchor: Anchor, text: &str) {
        self.write(at, anchor, TEXT, text);
    }
}

impl OriginDimensions for Raster {
    fn size(&self) -> Size {
        Size::new(self.pixels.width(), self.pixels.height())
    }
}

impl DrawTarget for Raster {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        let (width, height) = (self.pixels.width(), self.pixels.height());
        for Pixel(At { x, y }, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { continue };
            if x < width && y < height {
                let opaque = tiny_skia::ColorU8::from_rgba(colour.r(), colour.g(), colour.b(), 255).premultiply();
                if let Some(pixel) = self.pixels.pixels_mut().get_mut((y * width + x) as usize) {
                    *pixel = opaque;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LEFT, RIGHT, TOP, example};
    use super::*;

    #[test]
    fn an_image_shows_the_bands_and_is_the_same_each_time() {
        let image = super::image(&[example(), example()]).unwrap();
        assert_eq!(image, super::image(&[example(), example()]).unwrap());
        let pixels = Pixmap::decode_png(&image).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (960, 2 * 364));
        let at = |x: f64, y: f64| {
            let pixel = pixels.pixel(x as u32, y as u32).unwrap();
            u32::from_be_bytes([0, pixel.red(), pixel.green(), pixel.blue()])
        };
        // Between the first two forecast steps, 330 of 420 s; quantiles reach from 1 to 8, which is the top.
        let x = LEFT + 330.0 / 420.0 * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEAD + TOP + (1.0 - value / 8.0) * (HEIGHT - TOP - 40.0);
        for second in [0.0, 364.0] {
            let seen = [7.0, 5.5, 4.5].map(|value| at(x, second + y(value)));
            assert_eq!(seen, [0xdb_e7_f5, 0xb3_cd_ea, 0x84_ae_dc]);
            let reds = (-1..=1).map(|off| at(x, second + y(4.0) + f64::from(off)) >> 16);
            assert!(reds.min() < Some(0x60), "the median is darker than every band");
        }
        let dark = |rows: std::ops::Range<u32>| {
            rows.flat_map(|y| (0..80).map(move |x| (x, y)))
                .filter(|&(x, y)| at(x.into(), y.into()) == 0x22_22_22)
                .count()
        };
        assert!(dark(5..25) > 20, "a title is written");
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert!(super::image(&[]).is_err());
        let many: Vec<Plot> = (0..41).map(|_| Plot::default()).collect();
        assert!(super::image(&many).unwrap_err().to_string().contains("choose some with --column"));
        let one = Plot { title: "\u{4e2d} \u{e9}".to_owned(), step_s: 60, ..Plot::default() };
        assert!(!super::image(&[one]).unwrap().is_empty());
    }
}
