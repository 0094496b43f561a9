//! A statement as CSV (RFC 4180) and as a page that can be read, printed and kept.

use std::fmt::Write as _;

use modelet_control::{FunctionUsage, Statement};

/// As CSV: a line for each meter, then the total.
pub(super) fn csv(statement: &Statement) -> String {
    let mut text =
        String::from("tenant,month,meter,unit,quantity,free,price,priced_units,amount,currency\r\n");
    let Statement { tenant, month, currency, .. } = statement;
    let currency = field(currency);
    for line in &statement.lines {
        let _ = write!(
            text,
            "{tenant},{month},{},{},{},{},{},{},{},{currency}\r\n",
            line.meter, line.unit, line.quantity, line.free, line.price, line.priced_units, line.amount
        );
    }
    let _ = write!(text, "{tenant},{month},total,,,,,,{},{currency}\r\n", statement.total);
    text
}

/// A field in quotes if it needs them.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a}\
h1{font-size:1.5rem;margin-bottom:0}\
p{margin:.25rem 0;color:#555}\
table{border-collapse:collapse;width:100%;margin:1.5rem 0}\
th,td{padding:.4rem .6rem;border-bottom:1px solid #ddd;text-align:right;font-variant-numeric:tabular-nums}\
th:first-child,td:first-child{text-align:left}\
tfoot td{font-weight:600;border-bottom:none;border-top:2px solid #1a1a1a}\
@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}p{color:#aaa}\
th,td{border-color:#333}tfoot td{border-color:#eee}}\
@media print{body{margin:0}}";

/// As a page by itself.
pub(super) fn html(statement: &Statement) -> String {
    let Statement { tenant, month, lines, total, functions, .. } = statement;
    let currency = escaped(&statement.currency);
    let state = if statement.is_final { "final" } else { "until now; the month has not ended" };
    let plan = match &statement.plan {
        Some(plan) => format!("plan {}", escaped(plan)),
        None => "no plan, so nothing is charged".to_owned(),
    };
    let mut rows = String::new();
    for line in lines {
        let priced = if line.priced_units == 1 {
            String::new()
        } else {
            format!(" / {}", grouped(&line.priced_units.to_string()))
        };
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}{priced}</td><td>{}</td></tr>",
            line.unit,
            grouped(&line.quantity.to_string()),
            grouped(&line.free.to_string()),
            line.price,
            grouped(&line.amount.to_string()),
        );
    }
    let mut used = String::new();
    for FunctionUsage { function, usage } in functions {
        let seconds = |us: u64| grouped(&format!("{}.{:06}", us / 1_000_000, us % 1_000_000));
        let gib_us = u128::from(usage.memory_mib_ms) * 1_000 / 1_024;
        let _ = write!(
            used,
            "<tr><td>{function}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            grouped(&usage.invocations.to_string()),
            grouped(&usage.failed.to_string()),
            seconds(u64::try_from(gib_us).unwrap_or(u64::MAX)),
            seconds(usage.cpu_us),
            seconds(usage.inference_cpu_us),
        );
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{tenant} {month}</title>\
         <style>{STYLE}</style></head><body>\
         <h1>Statement of {month}</h1><p>Tenant {tenant}, {plan}, {state}</p>\
         <table><thead><tr><th>used</th><th>quantity</th><th>free</th><th>price, {currency}</th>\
         <th>amount, {currency}</th></tr></thead><tbody>{rows}</tbody>\
         <tfoot><tr><td colspan=\"4\">total</td><td>{}</td></tr></tfoot></table>\
         <table><thead><tr><th>function</th><th>invocations</th><th>failed</th><th>GiB-seconds</th>\
         <th>CPU seconds</th><th>inference seconds</th></tr></thead><tbody>{used}</tbody></table>\
         <p>{} invocations are not billed, because the host was at fault or has refused them for a quota.</p></body></html>",
        grouped(&total.to_string()),
        grouped(&statement.usage.not_billed.to_string()),
    )
}

/// A decimal number with its thousands apart.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::with_capacity(number.len() + whole.len() / 3);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            // A narrow space, as ISO 80000-1 has it.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text + rest
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped("1234567.1234567"), "1\u{202f}234\u{202f}567.1234567");
        assert_eq!(grouped("123"), "123");
        assert_eq!(grouped("0.5"), "0.5");
    }

    #[test]
    fn what_the_operator_wrote_is_text() {
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(escaped("<b>&\""), "&lt;b&gt;&amp;&quot;");
    }
}
