//! How text from outside is shown: the one way out for names, hosts, error
//! texts and paths that this program did not choose itself.

use std::fmt::{self, Display, Write};

/// Shows text from outside on one line, with everything that a terminal or an
/// eye could take for something else escaped as `\u{...}`, and `\` as `\\`.
#[derive(Clone, Copy, Debug)]
pub struct Shown<T>(pub T);

impl<T: AsRef<str>> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.as_ref().chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                c if is_deceptive(c) => {
                    write!(f, "{}", c.escape_unicode())?;
                }
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Returns whether a character shows nothing, breaks the line, steers the terminal or
/// changes the order of what stands around it: Unicode's control (Cc), format
/// (Cf), line and paragraph separator (Zl, Zp) characters, the fillers that
/// render as nothing, and the code points that are no characters.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{0600}'..='\u{0605}' | '\u{061C}' | '\u{06DD}'
            | '\u{070F}' | '\u{0890}'..='\u{0891}' | '\u{08E2}' | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
            | '\u{FDD0}'..='\u{FDEF}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
            | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
        || u32::from(c) & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_is_escaped_and_the_rest_is_not() {
        let shown = |text: &str| Shown(text).to_string();
        assert_eq!(shown("résumé 1.pdf"), "résumé 1.pdf");
        assert_eq!(shown("\x1b[2Jab\n"), "\\u{1b}[2Jab\\u{a}");
        assert_eq!(shown("gpj\u{202e}exe\u{85}\u{200b}"), "gpj\\u{202e}exe\\u{85}\\u{200b}");
        assert_eq!(shown("a\\u{1b}"), "a\\\\u{1b}");
    }

    #[test]
    fn no_character_at_all_gets_out_as_a_control() {
        for c in ('\0'..=char::MAX).filter(|c| c.is_control()) {
            let shown = Shown(c.to_string()).to_string();
            assert!(shown.chars().all(|c| !c.is_control()), "{}", c.escape_unicode());
        }
    }
}
