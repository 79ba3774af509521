//! What is kept of what happened: the audit log and error reports.

use super::body::{Asked, In, Json};
use super::{Access, Service};
use crate::refusal::Refusal;
use crate::store::{audit, reports};
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use service_api::Name;
use service_api::fleet::Page;
use service_api::people::Role;
use service_api::problem::Problem;
use service_api::records::{AuditEntry, AuditFilter, CollectedReport, ReportFilter, ReportFormat};
use std::sync::Arc;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/catalogs/{catalog}/audit", get(changes))
        .route("/v1/catalogs/{catalog}/reports", get(collected))
}

/// Who changed what, oldest first
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/audit", tag = "records", security(("token" = [])),
    params(("catalog" = Name, Path), AuditFilter), responses((status = 200, body = Page<AuditEntry>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn changes(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Asked(filter): Asked<AuditFilter>,
) -> Result<Json<Page<AuditEntry>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(audit::list(&mut *service.store.read().await?, &catalog, &filter).await?))
}

/// Error reports of the catalog's devices, as JSON or CSV
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/reports", tag = "records", security(("token" = [])),
    params(("catalog" = Name, Path), ReportFilter),
    responses((status = 200, content((Page<CollectedReport> = "application/json"), (String = "text/csv"))), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn collected(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Asked(filter): Asked<ReportFilter>,
) -> Result<Response, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    let page = reports::list(&mut *service.store.read().await?, &catalog, &filter).await?;
    Ok(match filter.format {
        None | Some(ReportFormat::Json) => Json(page).into_response(),
        Some(ReportFormat::Csv) => {
            ([(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")], csv(&page.items))
                .into_response()
        }
    })
}

/// RFC 4180.
fn csv(reports: &[CollectedReport]) -> String {
    let mut text =
        "device,product,group,os_version,app,app_version,kind,detail,count,first,last,heard\r\n".to_owned();
    for report in reports {
        let fields = [
            report.device.as_str(),
            report.product.as_str(),
            report.group.as_str(),
            &report.os_version,
            &report.app,
            &report.app_version,
            report.kind.as_str(),
            &report.detail,
        ];
        let numbers = [report.count, report.first, report.last, report.heard];
        let fields = fields.into_iter().map(field).chain(numbers.iter().map(u64::to_string));
        text.push_str(&fields.collect::<Vec<_>>().join(","));
        text.push_str("\r\n");
    }
    text
}

/// Quoted where it has to be. What a spreadsheet would take for a formula gets an apostrophe: a device may write what it
/// likes.
fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_no_formula() {
        assert_eq!(field("plain"), "plain");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(field("=1+1"), "'=1+1");
    }
}
