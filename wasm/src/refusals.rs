//! What WASI refuses without a word is told: look-ups, datagrams, and paths that lead out of what is granted.
//!
//! Nothing here decides anything. Names and datagrams are refused by the context as well, and paths by
//! wasmtime, which holds each folder's descriptor; this only stands in between and says what was refused.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::ResolveAddressStream;
use wasmtime_wasi::p2::bindings::sockets::network::{self, IpAddressFamily, Network};
use wasmtime_wasi::p2::{FsResult, UdpSocket};

use crate::egress::{Refusal, Teller, shown};

/// The interfaces, in the version that wasmtime-wasi links.
const FILES: &str = "wasi:filesystem/types@0.2.12";
const NAMES: &str = "wasi:sockets/ip-name-lookup@0.2.12";
const DATAGRAMS: &str = "wasi:sockets/udp-create-socket@0.2.12";

/// Takes the place of wasmtime's own functions, which must be linked already.
///
/// # Errors
/// There is nothing whose place could be taken.
pub fn add_to_linker<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    teller: &Arc<Teller>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let linked = sockets(linker, teller).and_then(|()| files(linker, teller));
    linker.allow_shadowing(false);
    linked
}

fn sockets<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    teller: &Arc<Teller>,
) -> wasmtime::Result<()> {
    let told = Arc::clone(teller);
    linker.instance(NAMES)?.func_wrap(
        "resolve-addresses",
        move |_: StoreContextMut<'_, T>, (_, name): (Resource<Network>, String)| {
            told.tell(&look_up(&name));
            let refused = network::ErrorCode::AccessDenied;
            Ok((Err::<Resource<ResolveAddressStream>, _>(refused),))
        },
    )?;
    let told = Arc::clone(teller);
    linker.instance(DATAGRAMS)?.func_wrap(
        "create-udp-socket",
        move |_: StoreContextMut<'_, T>, (_,): (IpAddressFamily,)| {
            told.tell(&datagrams());
            let refused = network::ErrorCode::AccessDenied;
            Ok((Err::<Resource<UdpSocket>, _>(refused),))
        },
    )
}

/// Stands before a function that works on a path, hands everything on, and tells if it was refused.
macro_rules! stands_before {
    ($types:ident, $teller:ident, $name:literal, $method:ident, $($other:ident: $type:ty,)* => $path:ident, $gives:ty) => {{
        let teller = Arc::clone($teller);
        $types.func_wrap_async(
            concat!("[method]descriptor.", $name),
            move |mut store: StoreContextMut<'_, T>, (folder, $($other,)*): (Resource<Descriptor>, $($type,)*)| {
                let teller = Arc::clone(&teller);
                Box::new(async move {
                    let mut view = store.data_mut().filesystem();
                    let path = $path.clone();
                    let read_only = view.table.get(&folder).is_ok_and(is_read_only);
                    let done: FsResult<$gives> = view.$method(folder, $($other,)*).await;
                    let done = match done {
                        Ok(done) => Ok(done),
                        Err(error) => Err(error.downcast()?),
                    };
                    if matches!(done, Err(ErrorCode::NotPermitted)) {
                        teller.tell(&out_of_folder(&path, read_only));
                    }
                    Ok((done,))
                })
            },
        )?;
    }};
}

fn files<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    teller: &Arc<Teller>,
) -> wasmtime::Result<()> {
    let mut types = linker.instance(FILES)?;
    stands_before!(types, teller, "create-directory-at", create_directory_at, path: String, => path, ());
    stands_before!(types, teller, "open-at", open_at, how: PathFlags, path: String, open: OpenFlags, flags: DescriptorFlags, => path, Resource<Descriptor>);
    stands_before!(types, teller, "readlink-at", readlink_at, path: String, => path, String);
    stands_before!(types, teller, "remove-directory-at", remove_directory_at, path: String, => path, ());
    stands_before!(types, teller, "rename-at", rename_at, path: String, folder_after: Resource<Descriptor>, after: String, => path, ());
    stands_before!(types, teller, "stat-at", stat_at, how: PathFlags, path: String, => path, DescriptorStat);
    stands_before!(types, teller, "unlink-file-at", unlink_file_at, path: String, => path, ());
    stands_before!(types, teller, "link-at", link_at, how: PathFlags, path: String, folder_after: Resource<Descriptor>, after: String, => path, ());
    // Where a link is to lead says more than its own name.
    stands_before!(types, teller, "symlink-at", symlink_at, target: String, link: String, => target, ());
    Ok(())
}

/// Says whether nothing in a folder may change.
pub fn is_read_only(folder: &Descriptor) -> bool {
    match folder {
        Descriptor::Dir(folder) => folder.perms.write_not_permitted(),
        Descriptor::File(_) => false,
    }
}

fn look_up(name: &str) -> Refusal {
    Refusal {
        what: format!("a look-up of {}", shown(name)),
        cause: "the launcher looks granted hosts up itself, and the component none".to_owned(),
        hint: "use a component of the launcher's own release".to_owned(),
    }
}

fn datagrams() -> Refusal {
    Refusal {
        what: "a socket for datagrams (UDP)".to_owned(),
        cause: "the component may connect to the launcher's egress, and nothing else".to_owned(),
        hint: "use a component of the launcher's own release".to_owned(),
    }
}

/// Returns what is told of a path that is not granted, or only to be read.
pub fn out_of_folder(path: &str, read_only: bool) -> Refusal {
    Refusal {
        what: format!("the path {}", shown(path)),
        cause: if read_only {
            "its folder is granted to be read only, and nothing outside of it is"
        } else {
            "it leads out of the folder that is granted"
        }
        .to_owned(),
        hint: "to grant a folder, add `--dir FOLDER`, or `--dir FOLDER:ro` to have it read"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;
    use wasmtime::component::ResourceTable;
    use wasmtime_wasi::{WasiCtx, WasiCtxView};

    use super::*;

    struct State(WasiCtx, ResourceTable);

    impl WasiView for State {
        fn ctx(&mut self) -> WasiCtxView<'_> {
            WasiCtxView {
                ctx: &mut self.0,
                table: &mut self.1,
            }
        }
    }

    #[test]
    fn it_takes_the_place_of_what_is_linked() {
        let mut linker: Linker<State> = Linker::new(&Engine::default());
        let teller = Arc::default();
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        // Under another name, or in another version, these would be no second definitions.
        assert!(sockets(&mut linker, &teller).is_err());
        assert!(files(&mut linker, &teller).is_err());
        add_to_linker(&mut linker, &teller).unwrap();
    }

    #[test]
    fn what_the_component_chose_is_shown_short_and_without_control_characters() {
        let hostile = format!("\u{1b}[31m{}", "x".repeat(5000));
        for refusal in [look_up(&hostile), out_of_folder(&hostile, true)] {
            let words = refusal.to_string();
            assert!(words.len() < 500 && !words.contains('\u{1b}'), "{words}");
        }
    }
}
