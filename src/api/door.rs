//! Which door a call came through, and how what answers before any handler does answers there: the layers of
//! [`super::guard`], which ask it, and [`not_found`], the router's fallback. It decides nothing about the call.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Version, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};

use super::{pb::ErrorReason, status::Problem};

/// The content types of gRPC and gRPC-web, as tonic-web compares them.
const GRPC: [&str; 6] = [
    "application/grpc",
    "application/grpc+proto",
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];

/// How the caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// HTTP with JSON. Also a call to a gRPC path that is not gRPC: whoever sent it understands a plain HTTP answer.
    Rest,
    /// gRPC or gRPC-web, with the content type of the request, which is the answer's too.
    Grpc(&'static str),
}

impl Door {
    /// The door of `request`, by its path and content type.
    pub fn of(request: &Request) -> Self {
        if !is_grpc_path(request.uri().path()) {
            return Self::Rest;
        }
        let given = content_type(request.headers()).unwrap_or_default();
        let known = GRPC.into_iter().find(|known| known.eq_ignore_ascii_case(given));
        // gRPC proper ends in trailers, which only HTTP/2 has room for.
        known
            .filter(|known| known.contains("-web") || request.version() == Version::HTTP_2)
            .map_or(Self::Rest, Self::Grpc)
    }

    /// `problem` in this door's form.
    pub fn answer(self, problem: Problem) -> Response {
        match self {
            Self::Rest => problem.into_response(),
            Self::Grpc(content_type) => typed(problem.into_grpc_response(), content_type),
        }
    }

    /// How many bytes of body a message of `message` bytes may take here.
    pub fn body_bytes(self, message: usize) -> usize {
        const FRAME: usize = 5;
        match self {
            Self::Rest => message,
            Self::Grpc(content_type) if content_type.contains("-text") => (message + FRAME).div_ceil(3) * 4,
            Self::Grpc(_) => message + FRAME,
        }
    }
}

/// Answers at paths where there is nothing.
pub async fn not_found(request: Request) -> Response {
    match Door::of(&request) {
        Door::Rest => Problem::new(ErrorReason::NotFound, "there is nothing at this path").into_response(),
        Door::Grpc(content_type) => typed(Problem::unknown_rpc(), content_type),
    }
}

fn typed(mut response: Response, content_type: &'static str) -> Response {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// `/package.Service/Method`. No other path of ours has a dot inside its first segment and one more segment.
pub fn is_grpc_path(path: &str) -> bool {
    path.strip_prefix('/').and_then(|path| path.split_once('/')).is_some_and(|(service, method)| {
        service.find('.').is_some_and(|at| at > 0) && !method.is_empty() && !method.contains('/')
    })
}

/// The content type without its parameters.
pub fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?;
    // One that is not even text is certainly on no list.
    Some(value.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tonic::{Code, Status};

    use super::*;

    #[test]
    fn the_path_and_the_content_type_tell_the_door() {
        let cases = [
            ("/countersign.v1.KeyService/GetKey", "application/grpc", Door::Grpc("application/grpc")),
            ("/grpc.health.v1.Health/Check", "Application/gRPC+proto", Door::Grpc("application/grpc+proto")),
            ("/a.B/C", "application/grpc-web-text; charset=x", Door::Grpc("application/grpc-web-text")),
            ("/a.B/C", "application/grpc+json", Door::Rest),
            ("/a.B/C", "application/json", Door::Rest),
            ("/api/v1/keys", "application/grpc", Door::Rest),
            ("/.well-known/jwks.json", "application/grpc", Door::Rest),
            ("/openapi.json", "application/grpc", Door::Rest),
            ("/a.B/C/D", "application/grpc", Door::Rest),
            ("/a.B/", "application/grpc", Door::Rest),
        ];
        for (path, content_type, door) in cases {
            let request =
                Request::builder().uri(path).header(CONTENT_TYPE, content_type).version(Version::HTTP_2);
            assert_eq!(Door::of(&request.body(Body::empty()).unwrap()), door, "{path} {content_type}");
        }
    }

    #[test]
    fn grpc_proper_needs_http_2() {
        let ask = |content_type| {
            let request = Request::builder().uri("/a.B/C").header(CONTENT_TYPE, content_type);
            Door::of(&request.body(Body::empty()).unwrap())
        };
        assert_eq!(ask("application/grpc"), Door::Rest);
        assert_eq!(ask("application/grpc-web"), Door::Grpc("application/grpc-web"));
    }

    #[tokio::test]
    async fn where_nothing_is_each_door_says_so_in_its_own_way() {
        let ask = |path: &str, content_type: &str| {
            let request =
                Request::builder().uri(path).header(CONTENT_TYPE, content_type).version(Version::HTTP_2);
            not_found(request.body(Body::empty()).unwrap())
        };
        for content_type in ["application/grpc", "application/grpc-web+proto", "application/grpc-web-text"] {
            let answer = ask("/a.B/C", content_type).await;
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()[CONTENT_TYPE], content_type);
            let status = Status::from_header_map(answer.headers()).unwrap();
            assert_eq!(status.code(), Code::Unimplemented);
            assert_eq!(Problem::from_status(&status).reason, ErrorReason::NotFound);
            assert_eq!(ask("/nope", content_type).await.status(), 404, "no RPC has such a path");
        }
        assert_eq!(ask("/a.B/C", "application/json").await.status(), 404);
    }
}
