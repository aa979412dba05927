"""The page to read and try the routes in, with all that it needs: no browser asks elsewhere."""

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from app.api.route import router as routes

router = routes("docs")

#: Swagger UI, from a package that follows its releases.
_FILES = StaticFiles(packages=[("fastapi_swagger", "resources")])


@router.get("/docs", include_in_schema=False)
async def show_documentation() -> Response:
    """The page. Its links are relative, so that it may be served under any path."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Business Partner Service",
        swagger_js_url="docs/files/swagger-ui-bundle.js",
        swagger_css_url="docs/files/swagger-ui.css",
        swagger_favicon_url="docs/files/favicon-32x32.png",
    )


router.routes.append(Mount("/docs/files", _FILES))
